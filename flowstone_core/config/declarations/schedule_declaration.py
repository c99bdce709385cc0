"""Schedule declarations: options of a schedule, validated, from a file, a pipeline or a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

import pydantic

from flowstone_core.config.declarations.problems import (
    missing_asset,
    name_problem,
    own_name,
    pydantic_problems,
)
from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.callables import fit_function
from flowstone_core.model.duration import format_duration
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.safe_text import describe
from flowstone_core.scheduling.builtin_triggers import RESERVED
from flowstone_core.scheduling.schedule import PartitionOf, Schedule, ScheduleSpec, Triggers, build
from flowstone_core.scheduling.settings import ScheduleSettings
from flowstone_core.scheduling.trigger import Trigger

_INSTANT = "the instant (an aware datetime)"
_PARTITION = frozenset({"partition", "partition_fn"})


@dataclass(frozen=True)
class ScheduleOptions:
    """Options of a schedule as a user gave them, not validated yet.

    Attributes:
        options: ``asset``, one trigger by its name, ``partition_fn`` and those of
            `ScheduleSettings`.
        where: ``file:line`` of the declaration.
        places: ``file:line`` of single options.
    """

    name: str
    options: Mapping[str, object]
    where: str = ""
    places: Mapping[str, str] = field(default_factory=dict)

    def overlaid(self, other: ScheduleOptions, triggers: Iterable[str]) -> ScheduleOptions:
        """Return these options overridden by others of the same schedule."""
        options = dict(self.options)
        for kinds in ({*triggers, "trigger"}, _PARTITION):
            if kinds & other.options.keys():
                options = {key: value for key, value in options.items() if key not in kinds}
        where, places = other.where or self.where, {**self.places, **other.places}
        return ScheduleOptions(self.name, {**options, **other.options}, where, places)


@dataclass(frozen=True)
class ScheduleDeclaration:
    """Declaration of a schedule by a file, a pipeline or a call, validated.

    Attributes:
        spec: Its settings as the store keeps them.
        schedule: The schedule that the settings alone define.
        where: ``file:line``.
        partition_of: The ``partition_fn``, wrapped to take the instant; None without one.
        own_trigger: A trigger object whose class no plugin provides.
    """

    name: str
    spec: ScheduleSpec
    schedule: Schedule
    where: str = ""
    partition_of: PartitionOf | None = None
    own_trigger: Trigger | None = None


def declare_schedule(
    given: ScheduleOptions, triggers: Triggers, assets: Iterable[str], subject: str = ""
) -> tuple[ScheduleDeclaration | None, list[Problem]]:
    """Check everything about a schedule at once.

    Args:
        triggers: The installed trigger classes, by name.
        assets: The names of the declared assets.
        subject: The schedule in messages; ``schedule 'NAME'`` if empty.

    Returns:
        The declaration, and all problems; one of the two is empty.
    """
    return _Declaring(given, triggers, list(assets), subject).declare()


class _Declaring:
    """One declaration in progress: continues after a problem, so that every problem is found."""

    def __init__(
        self, given: ScheduleOptions, triggers: Triggers, assets: list[str], subject: str
    ) -> None:
        self.given = given
        self.options = dict(given.options)
        self.triggers = triggers
        self.assets = assets
        self.subject = subject or f"schedule {given.name!r:.210}"
        self.problems: list[Problem] = []

    def declare(self) -> tuple[ScheduleDeclaration | None, list[Problem]]:
        """Return the declaration and the problems; see `declare_schedule`."""
        given = self.given
        wrong = name_problem(given.name, "schedule", given.where)
        if wrong is not None:
            self.problems.append(wrong)
        asset = self._asset()
        partition_of = self._partition_of()
        kind, text, own = self._kind()
        settings = self._settings()
        zone = settings.timezone if settings is not None else "UTC"
        if kind is not None and own is None:
            self._try_trigger(kind, text, zone)
        if self.problems or settings is None or kind is None:
            return None, self.problems
        spec: JsonObject = {"asset": asset, "trigger": kind, "text": text}
        spec |= cast("JsonObject", settings.model_dump(mode="json", exclude_unset=True))
        if partition_of is not None:
            spec["partition_fn"] = _reference(given.options["partition_fn"])
        if own is not None:
            spec["timezone"] = own.timezone
        schedule = build(given.name, spec, self.triggers, partition_of, own)
        start, end = (schedule.moment(each) for each in (settings.start, settings.end))
        if start is not None and end is not None and start > end:
            self._problem("end", f"end {end} is before start {start}")
            return None, self.problems
        declaration = ScheduleDeclaration(
            given.name, spec, schedule, given.where, partition_of, own
        )
        return declaration, []

    def _problem(self, key: str, message: str, hint: str = "") -> None:
        where = self.given.places.get(key, self.given.where)
        self.problems.append(Problem(message, where, f"{self.subject} {key}".strip(), hint))

    def _asset(self) -> str:
        asset = self.options.pop("asset", self.given.name)
        if asset not in self.assets:
            where = self.given.places.get("asset", self.given.where)
            self.problems.append(missing_asset(f"{self.subject} asset", asset, self.assets, where))
        return str(asset)

    def _kind(self) -> tuple[str | None, str, Trigger | None]:
        """Return the trigger's name, its text, and the trigger object if one was given."""
        kinds = [key for key in self.options if key in self.triggers]
        given = {key: self.options.pop(key) for key in kinds}
        own = self.options.pop("trigger", None)
        known = " or ".join(sorted(self.triggers))
        if len(kinds) + (own is not None) != 1:
            found = [*kinds, *(["trigger"] if own is not None else [])]
            message = f"several triggers: {' and '.join(found)}" if found else "missing trigger"
            self._problem("", message, f"give exactly one of {known}")
            return None, "", None
        if own is not None:
            return self._own_trigger(own)
        kind, value = kinds[0], given[kinds[0]]
        if isinstance(value, timedelta):
            value = format_duration(value)
        if not isinstance(value, str):
            what = type(value).__qualname__
            self._problem(kind, f"must be a text, not a value of type {what}")
            return None, "", None
        return kind, value, None

    def _own_trigger(self, own: object) -> tuple[str | None, str, Trigger | None]:
        if not isinstance(own, Trigger):
            self._problem("trigger", f"{own!r:.80} is not a Trigger", "make an object of its class")
            return None, "", None
        if "timezone" in self.options:
            self._problem("timezone", "must be left out: the trigger has its own time zone")
        for kind, trigger_class in self.triggers.items():
            if type(own) is trigger_class:
                self.options["timezone"] = own.timezone
                return kind, own.text, None
        return type(own).__qualname__, own.text, own

    def _try_trigger(self, kind: str, text: str, zone: str) -> None:
        try:
            self.triggers[kind](text, zone)
        except ValidationError as error:
            for problem in error.problems:
                message = ": ".join(each for each in (problem.subject, problem.message) if each)
                self._problem(kind, message, problem.hint)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin's trigger may raise anything
            self._problem(kind, f"trigger raised {describe(error)}")

    def _partition_of(self) -> PartitionOf | None:
        function = self.options.pop("partition_fn", None)
        if function is None:
            return None
        if "partition" in self.options:
            self._problem("partition_fn", "partition and partition_fn exclude each other")
        if not callable(function):
            self._problem("partition_fn", f"{function!r:.80} is not a function")
            return None
        try:
            return cast("PartitionOf", fit_function(function, _INSTANT, least=0))
        except ValueError as error:
            self._problem("partition_fn", str(error))
        return None

    def _settings(self) -> ScheduleSettings | None:
        try:
            return ScheduleSettings.model_validate(self.options)
        except pydantic.ValidationError as error:
            given = self.given
            also = {*self.triggers, "asset", "partition_fn"}
            self.problems += pydantic_problems(
                error, ScheduleSettings, given.where, self.subject, given.places, also
            )
        return None


def unknown_kind(options: Mapping[str, object]) -> str | None:
    """Return the one unknown option, which may be a trigger of a plugin; None if there is none."""
    unknown = [key for key in options if key not in RESERVED]
    return unknown[0] if len(unknown) == 1 and not did_you_mean(unknown[0], RESERVED) else None


def _reference(function: object) -> str:
    name = getattr(function, "__qualname__", own_name(function)) or type(function).__qualname__
    return f"{getattr(function, '__module__', None)}:{name}"
