"""A pipeline: assets, sensors and schedules declared in Python.

Whatever is wrong is said where it is declared, with the line that declared it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import pydantic

from flowstone_core.asset import Asset, AssetFunction, AssetGraph
from flowstone_core.declaration import (
    AnySensor,
    SensorDeclaration,
    declare_sensor,
    missing_asset,
    name_problem,
    own_name,
    pydantic_problems,
)
from flowstone_core.errors import Problem, ValidationError
from flowstone_core.schedule_declaration import (
    BUILT_IN,
    Spoken,
    declare_schedule,
    unknown_kind,
)
from flowstone_core.settings import PositiveDuration

F = TypeVar("F", bound=AssetFunction)

_PACKAGE = f"{Path(__file__).parent}{os.sep}"


class Pipeline:
    """A named set of assets, sensors and schedules.

    Args:
        name: For people; letters, digits, ``_``, ``.`` and ``-``.

    Raises:
        ValidationError: If the name is none.

    Example:
        >>> from flowstone_core import Pipeline
        >>> pipeline = Pipeline("shop")
        >>> @pipeline.asset
        ... def raw_orders(context):
        ...     return {"rows": 3}
        >>> @pipeline.asset(depends_on=["raw_orders"], follow=True)
        ... def daily_report(context):
        ...     return {"rows": context.upstream["raw_orders"]["rows"]}
        >>> list(pipeline.assets)
        ['raw_orders', 'daily_report']
    """

    def __init__(self, name: str) -> None:
        problem = name_problem(name, "a pipeline", _caller())
        if problem is not None:
            raise ValidationError(problem)
        self.name = name
        self._assets: dict[str, Asset] = {}
        self._sensors: dict[str, SensorDeclaration] = {}
        self._schedules: dict[str, Spoken] = {}

    @property
    def assets(self) -> AssetGraph:
        """The assets by name, each after those it depends on."""
        return AssetGraph(self._assets.values())

    @property
    def sensors(self) -> Mapping[str, SensorDeclaration]:
        """The sensors by name."""
        return dict(self._sensors)

    @property
    def schedules(self) -> Mapping[str, Spoken]:
        """What was said of schedules, by name."""
        return dict(self._schedules)

    @overload
    def asset(self, function: F) -> F: ...
    @overload
    def asset(
        self,
        *,
        name: str | None = None,
        depends_on: Iterable[str] = (),
        follow: bool = False,
        max_attempts: int = 5,
        backoff: timedelta | str = "5s",
        backoff_limit: timedelta | str = "30m",
    ) -> Callable[[F], F]: ...

    def asset(self, function: F | None = None, **options: Any) -> F | Callable[[F], F]:
        """Declare an asset: decorate the function that makes one partition of it.

        Args:
            function: Takes a `Context`; returns a small JSON mapping, or None.
            **options: ``name`` (the function's own by default), ``depends_on`` (names of assets
                declared before this one), ``follow``, ``max_attempts``, ``backoff`` and
                ``backoff_limit`` as in `Asset`; durations may be texts such as ``5s``.

        Returns:
            The function, unchanged.

        Raises:
            ValidationError: If the name is wrong or taken, an option is unknown or of the wrong
                type, or ``depends_on`` names an asset that is not declared yet (which also rules
                out cycles).
        """
        where = _caller()

        def declare(function: F) -> F:
            self._declare_asset(function, options, where)
            return function

        return declare if function is None else declare(function)

    def sensor(
        self, name: str, sensor_class: type[AnySensor], *, asset: str | None = None, **options: Any
    ) -> None:
        """Declare a sensor.

        Args:
            name: Unique among all sensors; it is also the key of the sensor's stored state.
            sensor_class: A `Sensor` class, from a plugin or your own.
            asset: The asset its events are for; may be left out if each event names its own.
            **options: The settings every sensor has (``every``, ``deadline``, ...) and those of
                the class's ``Config``.

        Raises:
            ValidationError: If anything is wrong with it; lists everything that is.
        """
        where = _caller()
        declaration, problems = declare_sensor(
            name, sensor_class, options, where=where, asset=asset, assets=self._assets
        )
        first = self._sensors.get(name) if isinstance(name, str) else None
        if first is not None:
            what = f"there is already a sensor {name!r}"
            problems.append(Problem(what, where, hint=f"the other is at {first.where}"))
        if problems or declaration is None:
            raise ValidationError(problems)
        self._sensors[name] = declaration

    def schedule(self, asset: str, *, name: str | None = None, **options: Any) -> None:
        """Declare a schedule.

        Args:
            asset: The asset whose partitions it asks for.
            name: Unique among all schedules; the asset's name by default.
            **options: When it fires: exactly one of ``cron``, ``every``, the name of a trigger
                that a plugin provides, or ``trigger`` with a `Trigger` object. How its partition
                is named: ``partition`` (a template), or ``partition_fn``, a function of the
                instant (aware, in the schedule's time zone) or of nothing. And ``timezone``,
                ``catchup``, ``catchup_window``, ``overlap``, ``jitter``, ``start``, ``end``,
                ``pause_on_failure``, ``enabled``, ``metadata``.

        Raises:
            ValidationError: If anything is wrong with it; lists everything that is.
        """
        where = _caller()
        spoken = Spoken(asset if name is None else name, {"asset": asset, **options}, where)
        problems: list[Problem] = []
        if {"trigger", *BUILT_IN} & options.keys() or unknown_kind(options) is None:
            problems = declare_schedule(spoken, BUILT_IN, self._assets)[1]
        first = self._schedules.get(spoken.name) if isinstance(spoken.name, str) else None
        if first is not None:
            what = f"there is already a schedule {spoken.name!r}"
            hint = f"the other is at {first.where}; give this one a name of its own: name=..."
            problems.append(Problem(what, where, hint=hint))
        if problems:
            raise ValidationError(problems)
        self._schedules[spoken.name] = spoken

    def _declare_asset(self, function: object, options: dict[str, Any], where: str) -> None:
        wrong = _function_problem(function, where)
        if wrong is not None:
            raise ValidationError(wrong)
        options = dict(options)
        if options.get("name") is None:
            options["name"] = own_name(function)
        upstreams = options.get("depends_on", ())
        if isinstance(upstreams, Iterable) and not isinstance(upstreams, str | bytes | Mapping):
            upstreams = options["depends_on"] = tuple(upstreams)
        subject = f"asset {options['name']!r:.210}"
        problems: list[Problem] = []
        read: _AssetOptions | None = None
        try:
            read = _AssetOptions.model_validate(options)
        except pydantic.ValidationError as error:
            problems += pydantic_problems(error, _AssetOptions, where, subject)
        # What can be said of the names is said even if another option is wrong.
        problems += self._name_problems(options["name"], upstreams, subject, where)
        if read is not None and read.follow and not read.depends_on:
            problems.append(Problem(f"{subject} follows nothing: it has no depends_on", where))
        if problems or read is None:
            raise ValidationError(problems)
        made_by = cast("AssetFunction", function)
        self._assets[read.name] = Asset(function=made_by, where=where, **read.model_dump())

    def _name_problems(
        self, name: object, upstreams: object, subject: str, where: str
    ) -> Iterator[Problem]:
        first = self._assets.get(name) if isinstance(name, str) else None
        if first is not None:
            hint = f"the other is at {first.where}"
            yield Problem(f"there is already an {subject}", where, hint=hint)
        if not isinstance(upstreams, tuple):
            return
        for number, upstream in enumerate(upstreams):
            if upstream == name:
                yield Problem(f"{subject} depends on itself: a cycle", where)
            elif upstream in upstreams[:number]:
                yield Problem(f"{subject} names {upstream!r:.80} twice in depends_on", where)
            elif upstream not in list(self._assets):
                yield missing_asset(f"{subject} depends on", upstream, self._assets, where)


class _AssetOptions(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str
    depends_on: tuple[Any, ...] = ()
    follow: pydantic.StrictBool = False
    max_attempts: pydantic.StrictInt = pydantic.Field(5, ge=1, le=1_000)
    backoff: PositiveDuration = timedelta(seconds=5)
    backoff_limit: PositiveDuration = timedelta(minutes=30)

    @pydantic.field_validator("name", mode="before")
    @classmethod
    def _name(cls, value: object) -> object:
        problem = name_problem(value, "an asset", "")
        if problem is not None:
            raise ValueError(str(problem))
        return value

    @pydantic.field_validator("depends_on", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("it is a list of names: write [...] around the one name")
        return value


def _function_problem(function: object, where: str) -> Problem | None:
    if not callable(function) or isinstance(function, type):
        return Problem(f"an asset is made by a function, not {function!r:.80}", where)
    subject = f"asset function {own_name(function)!r:.80}"
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return Problem("it is async; FlowStone runs it in a thread", where, subject, "use def")
    if inspect.isgeneratorfunction(function):
        return Problem("it is a generator: calling it would do nothing", where, subject)
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return Problem("it must take one argument, the context", where, subject)
    except ValueError:  # a function written in C may have no signature
        pass
    return None


def _caller() -> str:
    """Return ``file:line`` of the innermost frame outside this package: the user's own line."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads every source file of the stack
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
