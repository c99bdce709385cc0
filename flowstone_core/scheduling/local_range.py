"""Local range: a range of partitions by the time zone and the template of a schedule.

Local days are those of a schedule at a fixed time: each day once, a skipped time right after the
gap, and no day that clocks skip as a whole. So a backfill requests what the schedule requested.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from flowstone_core.errors import Problem, ValidationError
from flowstone_core.model.near_date import near_date
from flowstone_core.model.partition import Partition, format_partition
from flowstone_core.model.partition_range import (
    PartitionRange,
    Step,
    Steps,
    check_day,
    check_size,
    is_after,
    partition_range,
    read_ends,
    read_step,
)
from flowstone_core.scheduling.clock_rules import Matches, fixed_instant, fixed_local
from flowstone_core.scheduling.partition_template import PartitionTemplate
from flowstone_core.scheduling.schedule import ScheduleSpec
from flowstone_core.scheduling.time_zone import load_zone
from flowstone_core.scheduling.zone_table import wall_of, zone_table

_DAY = timedelta(days=1)
_LATEST = datetime.max - _DAY  # noqa: DTZ901 - local
_MONTHS = PartitionTemplate("${year}-${month}")
_NAIVE = PartitionTemplate("${date}T${hour}:${minute}:${second}")
_SIZES = {
    "day": _DAY,
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
    "second": timedelta(seconds=1),
}


@dataclass(frozen=True, slots=True)
class Naming:
    """Naming of partitions by a schedule: its template, in its time zone.

    Attributes:
        schedule: The schedule.
        template: None if it has none: the partition is the date, or what a function returns.
        zone: The zone of its local times.
        known: False if a function names the partitions.
    """

    schedule: str
    template: PartitionTemplate | None
    zone: ZoneInfo
    known: bool = True


def naming_of(schedule: str, spec: ScheduleSpec) -> Naming:
    """Return the naming of a schedule.

    Raises:
        ValidationError: If its zone or its template is invalid.
    """
    zone = load_zone(str(spec.get("timezone", "UTC")))
    text = spec.get("partition")
    template = PartitionTemplate(text) if isinstance(text, str) else None
    return Naming(schedule, template, zone, known="partition_fn" not in spec)


def local_range(
    first: Partition,
    last: Partition,
    every: str | timedelta | None = None,
    *,
    zone: ZoneInfo | None = None,
    namings: Sequence[Naming] = (),
) -> PartitionRange:
    """Return the partitions from ``first`` to ``last``, both included.

    Args:
        first: A date, a datetime, or a text that a template of ``namings`` writes; a month such
            as ``2025-01`` needs no template.
        last: Of the same kind, and not before it.
        every: As for `partition_range`. Datetimes go by local days, weeks, months and years, and
            by elapsed time for a duration; texts go by the shortest unit of their template if it
            is None.
        zone: The zone of the local days, and of naive datetimes; UTC if it is None.
        namings: The namings of the asset's partitions.

    Raises:
        ValidationError: If a partition or the step is invalid, if the last lies before the first,
            or if there are too many partitions.
    """
    try:
        if isinstance(first, str) and isinstance(last, str):
            return _texts(first, last, every, zone, namings)
        if zone is None or zone.key == "UTC":
            return partition_range(first, last, every)
        begin, end = read_ends(first, last)
        if not isinstance(begin, datetime):
            return _days(partition_range(begin, end, every), zone)
        step = read_step("hour" if every is None else every)
        if begin.tzinfo is None and not begin.microsecond and isinstance(end, datetime):
            return _naive_times(begin, end, step, zone)
        if begin.tzinfo is not None and step.calendar and isinstance(end, datetime):
            return _local_times(begin, end, step, zone)
        return partition_range(begin, end, every)
    except OverflowError:
        ends = f"{format_partition(first)} to {format_partition(last)}"
        raise ValidationError(f"{ends} is outside the years 1 to 9999 in {zone}") from None


def _days(found: PartitionRange, zone: ZoneInfo) -> PartitionRange:
    """Return a range of dates without the days that clocks skip as a whole."""
    kept = tuple(day for day in found if _is_shown(day, zone))
    if not kept:
        raise ValidationError(
            f"the day {format_partition(found.first)} does not exist in {zone}: clocks skipped it"
        )
    return PartitionRange(found.first, found.last, found.every, kept)


def _is_shown(day: Partition, zone: ZoneInfo) -> bool:
    assert isinstance(day, date)  # noqa: S101 - for the type checker
    return fixed_instant(datetime.combine(day, time()), zone_table(zone)) is not None


def _local_times(first: datetime, last: datetime, step: Step, zone: ZoneInfo) -> PartitionRange:
    """Return the instants of a local time, as a schedule at this time has them."""
    wall = first.astimezone(zone).replace(tzinfo=None)
    bound = last.astimezone(zone).replace(tzinfo=None)
    check_day(wall, step)
    # A day more: in an hour that comes twice, an earlier instant has a later local time.
    walls = Steps(wall, min(bound, _LATEST) + _DAY, step.size, step.months)
    every = f"{step.text} in {zone}"
    check_size(len(walls), first, last, every)
    table = zone_table(zone)
    instants = (fixed_instant(each, table) for each in walls)
    later = (each for each in instants if each is not None and first < each <= last)
    return PartitionRange(first, last, every, (first, *later))


def _naive_times(first: datetime, last: datetime, step: Step, zone: ZoneInfo) -> PartitionRange:
    """Return the local times that clocks show, as a schedule writes them without an offset."""
    check_day(first, step)
    every = f"{step.text} in {zone}"
    check_size(len(Steps(first, last, step.size, step.months)), first, last, every)
    names = _named((first, last), step, _NAIVE, zone)
    return PartitionRange(first, last, every, tuple(dict.fromkeys(names)) or (first,))


def _texts(
    first: str,
    last: str,
    every: str | timedelta | None,
    zone: ZoneInfo | None,
    namings: Sequence[Naming],
) -> PartitionRange:
    """Return a range of the first naming whose template writes both texts."""
    written = [(each.template, each.zone) for each in namings if each.template is not None]
    for template, own in (*written, (_MONTHS, ZoneInfo("UTC"))):
        begin, end = template.read(first), template.read(last)
        if begin is None or end is None or template.finest is None:
            continue
        if begin > end:
            raise is_after(first, last)
        step = read_step(template.finest if every is None else every)
        if not _goes_by(template.finest, step):
            raise ValidationError(
                f"{format_partition(first)} cannot go by {step.text}: "
                f"its shortest unit is the {template.finest}"
            )
        check_day(begin, step)
        check_size(len(Steps(begin, end, step.size, step.months)), first, last, step.text)
        names = _named((begin, end), step, template, zone or own)
        return PartitionRange(first, last, step.text, tuple(dict.fromkeys(names)) or (first,))
    raise _no_range(first, last, [f"{template.text} in {own}" for template, own in written])


def _no_range(first: str, last: str, templates: Sequence[str]) -> ValidationError:
    what = f"no range from {format_partition(first)!r} to {format_partition(last)!r}"
    near = near_date(first), near_date(last)
    if near[0] is not None and near[1] is not None:
        hint = f"for the dates write {near[0]} and {near[1]}"
        return ValidationError(Problem(f"{what}: they are texts, not dates", hint=hint))
    hint = f"or from and to texts that a schedule writes: {', '.join(templates)}"
    return ValidationError(
        Problem(
            f"{what}: must be from a date to a date, a datetime to a datetime, "
            "or a month to a month, as 2025-01",
            hint=hint if templates else "",
        )
    )


def _goes_by(unit: str, step: Step) -> bool:
    if step.size is None:
        return unit != "year" or step.months % 12 == 0
    return unit in _SIZES and step.size % _SIZES[unit] == timedelta(0)


def _named(
    ends: tuple[datetime, datetime], step: Step, template: PartitionTemplate, zone: ZoneInfo
) -> Iterator[Partition]:
    """Yield the partitions that a schedule writes from one local time to another."""
    if step.calendar or template.finest == "day":
        table = zone_table(zone)
        for wall in Steps(*ends, step.size, step.months):
            instant = fixed_instant(wall, table)
            if instant is not None:
                yield template.partition(fixed_local(_only(wall), table, instant))
        return
    # Both passes of an hour that comes twice: their texts are the same, and one partition.
    first, last = (
        each.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold, each in enumerate(ends)
    )
    for instant in Steps(first, last, step.size):
        yield template.partition(instant.astimezone(zone))


def _only(wall: datetime) -> Matches:
    seconds = wall_of(wall)
    return lambda after: seconds if seconds > after else None
