"""A schedule: an asset, a trigger, how to name the partition, and the policies, ready to be used.

What configuration, a pipeline or a command say of a schedule is kept as they said it, a mapping of
JSON values (`ScheduleSpec`); `build` makes the schedule of it. Later edits, also at run time,
are laid over what was said before: `merged`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.partition import Partition
from flowstone_core.scheduling.partition_template import PartitionTemplate
from flowstone_core.scheduling.settings import ScheduleSettings
from flowstone_core.scheduling.trigger import Trigger, next_fire

ScheduleSpec: TypeAlias = JsonObject
"""What somebody said of a schedule: ``asset``, ``trigger`` (its name), ``text`` (what it is made
of), and those of `ScheduleSettings` that were set. ``partition_fn`` is the name of a function that
only the process that declared it has."""

Triggers: TypeAlias = Mapping[str, type[Trigger]]
"""The trigger classes there are, by the name that configuration writes."""

PartitionOf: TypeAlias = Callable[[datetime], Partition]
"""Names the partition of an instant, which is in the schedule's time zone."""

TIMING = ("trigger", "text", "timezone", "start", "end", "enabled")
"""What decides when a schedule fires; who changes one of these replays nothing."""


@dataclass(frozen=True)
class Schedule:
    """A schedule that can be evaluated.

    Attributes:
        name: Unique among all schedules.
        asset: The asset whose partitions it asks for.
        kind: The trigger's name, as configuration writes it.
        trigger: Computes its instants.
        partition_of: Names the partition of an instant.
        settings: The policies.
    """

    name: str
    asset: str
    kind: str
    trigger: Trigger
    partition_of: PartitionOf = field(repr=False)
    settings: ScheduleSettings = field(default_factory=ScheduleSettings)

    def next_instant(self, after: datetime) -> datetime | None:
        """Return the first instant later than ``after``, in UTC; None if there is none.

        Raises:
            OutcomeError: If the trigger breaks its contract. What it raises passes through.
        """
        start = self.moment(self.settings.start)
        if start is not None and after < start:
            after = start - timedelta(microseconds=1)
        instant = next_fire(self.trigger, after)
        end = self.moment(self.settings.end)
        return None if instant is None or (end is not None and instant > end) else instant

    def due_at(self, instant: datetime) -> datetime:
        """Return when it fires for an instant: with its jitter, and before the next instant.

        The jitter is the same whoever asks, and however often.
        """
        jitter = self.settings.jitter
        if not jitter:
            return instant
        following = next_fire(self.trigger, instant)
        if following is not None:
            jitter = min(jitter, following - instant)
        digest = hashlib.sha256(f"{self.name}\0{instant.isoformat()}".encode()).digest()
        return instant + jitter * (int.from_bytes(digest[:6]) / 2**48)

    def partition(self, instant: datetime) -> Partition:
        """Return the partition that an instant makes; what a ``partition_fn`` raises passes."""
        return self.partition_of(instant.astimezone(self.trigger.zone))

    def moment(self, text: str | None) -> datetime | None:
        """Read ``start`` or ``end``: without an offset it is in the schedule's time zone."""
        if text is None:
            return None
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self.trigger.zone)
        return moment.astimezone(UTC)


def build(
    name: str,
    given: ScheduleSpec,
    triggers: Triggers,
    partition_of: PartitionOf | None = None,
    own_trigger: Trigger | None = None,
) -> Schedule:
    """Make a schedule of what was said of it, with what only this process has of it.

    Args:
        given: As `ScheduleSettings` dumps it, with ``asset``, ``trigger`` and ``text``.
        triggers: The trigger classes there are.
        partition_of: The function that ``given["partition_fn"]`` stands for, if there is one here.
        own_trigger: A trigger that no plugin provides, for which ``given["trigger"]`` may stand.

    Raises:
        ValidationError: If the trigger is not installed or refuses its text, if the function is
            not there, or if a setting is wrong, as one of a later version may be.
    """
    own = {key: value for key, value in given.items() if key in ScheduleSettings.model_fields}
    settings = ScheduleSettings.model_validate(own)
    kind, text = str(given.get("trigger")), str(given.get("text"))
    trigger: Trigger
    if own_trigger is not None and (type(own_trigger).__qualname__, own_trigger.text) == (
        kind,
        text,
    ):
        trigger = own_trigger
    elif kind in triggers:
        trigger = triggers[kind](text, settings.timezone)
    else:
        hint = did_you_mean(kind, triggers) or f"known: {', '.join(sorted(triggers))}"
        raise ValidationError(Problem(f"unknown trigger {kind!r:.80}", hint=hint))
    if "partition_fn" not in given:
        partition_of = _naming(settings)
    elif partition_of is None:
        raise ValidationError(
            Problem(
                f"its partition_fn {given['partition_fn']!s:.80} was given in another process",
                hint="declare the schedule in a pipeline or a file, or give it a template",
            )
        )
    return Schedule(name, str(given["asset"]), kind, trigger, partition_of, settings)


def merged(declared: ScheduleSpec | None, edits: ScheduleSpec | None) -> ScheduleSpec:
    """Lay what was said at run time over what a file or a pipeline says.

    Whoever names a partition otherwise, by template or by function, replaces the other way; so
    does who sets a trigger.
    """
    joined = dict(declared or {})
    for key, value in (edits or {}).items():
        if key in {"partition", "partition_fn"}:
            joined.pop("partition", None)
            joined.pop("partition_fn", None)
        joined[key] = value
    return joined


def timing(given: ScheduleSpec) -> tuple[object, ...]:
    """Return what of it decides when it fires, to be compared."""
    return tuple(given.get(key, _UNSET.get(key)) for key in TIMING)


_UNSET = {"timezone": "UTC", "enabled": True}


def _naming(settings: ScheduleSettings) -> PartitionOf:
    if settings.partition is None:
        return datetime.date
    return PartitionTemplate(settings.partition).partition
