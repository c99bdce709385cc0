"""Pipeline: assets, sensors and schedules declared in Python.

Each declaration is validated at once; an error names the line that declared it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import TypeVar, Unpack, overload

from flowstone_core.config.declarations.asset_declaration import (
    AssetOptions,
    declare_asset,
    declare_handler,
)
from flowstone_core.config.declarations.problems import duplicate, name_problem
from flowstone_core.config.declarations.schedule_declaration import (
    ScheduleOptions,
    declare_schedule,
    unknown_kind,
)
from flowstone_core.config.declarations.sensor_declaration import declare_sensor
from flowstone_core.errors import Problem, ValidationError
from flowstone_core.model.asset import Asset, AssetFunction, AssetGraph
from flowstone_core.model.sensor import AnySensor, SensorDeclaration
from flowstone_core.scheduling.builtin_triggers import BUILT_IN

F = TypeVar("F", bound=AssetFunction)

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"


class Pipeline:
    """A named set of assets, sensors and schedules.

    The watching hooks of the module that makes it, such as `flowstone_sensor_stale`, are called
    like those of a plugin.

    Args:
        name: A label for people; letters, digits, ``_``, ``.`` and ``-``.

    Attributes:
        module: The name of the module that makes it.

    Raises:
        ValidationError: If the name is invalid.

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
        problem = name_problem(name, "pipeline", _caller())
        if problem is not None:
            raise ValidationError(problem)
        self.name = name
        self.module: str = _calling_frame().f_globals.get("__name__", "")
        self._assets: dict[str, Asset] = {}
        self._sensors: dict[str, SensorDeclaration] = {}
        self._schedules: dict[str, ScheduleOptions] = {}

    @property
    def assets(self) -> AssetGraph:
        """The assets by name, each after those it depends on."""
        return AssetGraph(self._assets.values())

    @property
    def sensors(self) -> Mapping[str, SensorDeclaration]:
        """The sensors by name."""
        return dict(self._sensors)

    @property
    def schedules(self) -> Mapping[str, ScheduleOptions]:
        """The options of the declared schedules, by name."""
        return dict(self._schedules)

    @overload
    def asset(self, function: F) -> F: ...
    @overload
    def asset(self, **options: Unpack[AssetOptions]) -> Callable[[F], F]: ...

    def asset(
        self, function: F | None = None, **options: Unpack[AssetOptions]
    ) -> F | Callable[[F], F]:
        """Declare an asset: decorate the function that materializes one partition of it.

        Args:
            function: Takes a `Context`; returns a small JSON mapping, or None.
            **options: ``name``, ``depends_on``, ``follow``, ``max_attempts``, ``backoff``,
                ``backoff_limit``, ``timeout`` and ``run_in``; see `AssetOptions`.

        Returns:
            The function, unchanged.

        Raises:
            ValidationError: If the name is invalid or a duplicate, an option is unknown or of the
                wrong type, or ``depends_on`` names an asset that is not declared yet (which also
                rules out cycles).
        """
        where = _caller()

        def declare(function: F) -> F:
            self._add_asset(function, options, where)
            return function

        return declare if function is None else declare(function)

    def sensor(
        self,
        name: str,
        sensor_class: type[AnySensor],
        *,
        asset: str | None = None,
        on_trigger: AssetFunction | None = None,
        **options: object,
    ) -> None:
        """Declare a sensor.

        Args:
            name: Unique among all sensors; also the key of the sensor's stored state.
            sensor_class: A `Sensor` class, from a plugin or your own.
            asset: The asset its events are for; may be left out if each event names an asset.
            on_trigger: A function to call for its events instead, as an asset function is called:
                durably, with a `Context`, and again if it fails. The function becomes an asset
                with the sensor's name.
            **options: The settings every sensor has (``every``, ``deadline``, ...) and those of
                the class's ``Config``.

        Raises:
            ValidationError: If the declaration is invalid; lists every problem.
        """
        where = _caller()
        assets = dict(self._assets)
        handler, problems = None, list[Problem]()
        if on_trigger is not None:
            handler, problems = declare_handler(on_trigger, name, asset, assets, where)
        if handler is not None:
            assets[handler.name] = handler
            asset = handler.name
        declaration, wrong = declare_sensor(
            name, sensor_class, options, where=where, asset=asset, assets=assets
        )
        problems += wrong
        first = self._sensors.get(name) if isinstance(name, str) else None
        if first is not None:
            problems.append(duplicate(f"sensor {name!r}", where, first.where))
        if problems or declaration is None:
            raise ValidationError(problems)
        self._sensors[name] = declaration
        self._assets = assets

    def schedule(self, asset: str, *, name: str | None = None, **options: object) -> None:
        """Declare a schedule.

        Args:
            asset: The asset whose partitions the schedule materializes.
            name: Unique among all schedules; the asset's name by default.
            **options: The trigger: exactly one of ``cron``, ``every``, the name of a trigger that
                a plugin provides, or ``trigger`` with a `Trigger` object. The partition:
                ``partition`` (a template), or ``partition_fn``, a function of the instant (aware,
                in the schedule's time zone) or of nothing. And ``timezone``,
                ``catchup``, ``catchup_window``, ``overlap``, ``jitter``, ``start``, ``end``,
                ``pause_on_failure``, ``enabled``, ``metadata``.

        Raises:
            ValidationError: If the declaration is invalid; lists every problem.
        """
        where = _caller()
        name = asset if name is None else name
        declared = ScheduleOptions(name, {"asset": asset, **options}, where)
        problems: list[Problem] = []
        if {"trigger", *BUILT_IN} & options.keys() or unknown_kind(options) is None:
            problems = declare_schedule(declared, BUILT_IN, self._assets)[1]
        first = self._schedules.get(name) if isinstance(name, str) else None
        if first is not None:
            hint = "choose another name: name=..."
            problems.append(duplicate(f"schedule {name!r}", where, first.where, hint))
        if problems:
            raise ValidationError(problems)
        self._schedules[name] = declared

    def _add_asset(self, function: object, options: Mapping[str, object], where: str) -> str:
        asset, problems = declare_asset(function, options, self._assets, where)
        if asset is None:
            raise ValidationError(problems)
        self._assets[asset.name] = asset
        return asset.name


def _caller() -> str:
    """Return ``file:line`` of the user's own line."""
    frame = _calling_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _calling_frame() -> FrameType:
    """Return the innermost frame outside this package."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads every source file of the stack
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return frame
