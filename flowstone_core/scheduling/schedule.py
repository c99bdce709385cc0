"""Schedule: an asset, a trigger, a partition function and policies, ready to be evaluated.

Configuration, pipelines and commands declare a schedule as a mapping of JSON values
(`ScheduleSpec`), which is stored; `build` returns the schedule. Edits at run time override the
declaration setting by setting: `merged`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TypeAlias

from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.partition import Partition
from flowstone_core.scheduling.partition_template import PartitionTemplate
from flowstone_core.scheduling.settings import ScheduleSettings
from flowstone_core.scheduling.trigger import Trigger, local_time, next_fire

ScheduleSpec: TypeAlias = JsonObject
"""Declaration of a schedule: ``asset``, ``trigger`` (a name), ``text`` (its argument), and the
`ScheduleSettings` that were set. ``partition_fn`` is the name of a function that only the process
that declared the schedule has."""

Triggers: TypeAlias = Mapping[str, type[Trigger]]
"""Trigger classes by their names in the configuration."""

PartitionOf: TypeAlias = Callable[[datetime], Partition]
"""Returns the partition of an instant, which is in the schedule's time zone."""

TIMING = ("trigger", "text", "timezone", "start", "end", "enabled")
"""Settings that decide when a schedule fires; past instants are not fired after a change."""


@dataclass(frozen=True)
class Schedule:
    """A schedule that can be evaluated.

    Attributes:
        name: Unique among all schedules.
        asset: The asset whose partitions are materialized.
        kind: The trigger's name in the configuration.
        trigger: Computes the instants.
        partition_of: Returns the partition of an instant.
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
            OutcomeError: If the trigger violates its contract. Its own exceptions propagate.
        """
        start, end = self._bounds
        if start is not None and after < start:
            after = start - timedelta(microseconds=1)
        instant = next_fire(self.trigger, after)
        return None if instant is None or (end is not None and instant > end) else instant

    def due_at(self, instant: datetime) -> datetime:
        """Return the fire time of an instant: with jitter, and not after the next instant.

        The jitter of an instant is deterministic.
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
        """Return the partition of an instant; exceptions of a ``partition_fn`` propagate."""
        return self.partition_of(local_time(self.trigger, instant))

    @cached_property
    def _bounds(self) -> tuple[datetime | None, datetime | None]:
        return self.moment(self.settings.start), self.moment(self.settings.end)

    def moment(self, text: str | None) -> datetime | None:
        """Parse ``start`` or ``end``; without an offset, in the schedule's time zone."""
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
    """Return the schedule of a spec, with the functions that only this process has.

    Args:
        given: As `ScheduleSettings` dumps it, with ``asset``, ``trigger`` and ``text``.
        triggers: The available trigger classes.
        partition_of: The function that ``given["partition_fn"]`` names, if this process has it.
        own_trigger: A trigger that no plugin provides, which ``given["trigger"]`` may name.

    Raises:
        ValidationError: If the trigger is not installed or refuses its text, if the function is
            missing, or if a setting is invalid, such as one of a later version.
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
    """Return a declaration with its run-time edits applied.

    An edit of ``partition`` replaces ``partition_fn`` and the other way round.
    """
    joined = dict(declared or {})
    for key, value in (edits or {}).items():
        if key in {"partition", "partition_fn"}:
            joined.pop("partition", None)
            joined.pop("partition_fn", None)
        joined[key] = value
    return joined


def timing(given: ScheduleSpec) -> tuple[object, ...]:
    """Return the settings in `TIMING`, for comparison."""
    return tuple(given.get(key, _UNSET.get(key)) for key in TIMING)


_UNSET = {"timezone": "UTC", "enabled": True}


def _naming(settings: ScheduleSettings) -> PartitionOf:
    if settings.partition is None:
        return datetime.date
    return PartitionTemplate(settings.partition).partition
