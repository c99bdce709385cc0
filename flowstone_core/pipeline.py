"""A pipeline: assets and sensors declared in Python.

Whatever is wrong is said where it is declared, with the line that declared it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, overload

import pydantic

from flowstone_core.asset import NAME, Asset, AssetFunction, AssetGraph
from flowstone_core.declaration import (
    AnySensor,
    SensorDeclaration,
    declare_sensor,
    missing_asset,
    name_problem,
    pydantic_problems,
)
from flowstone_core.errors import Problem, ValidationError
from flowstone_core.settings import Duration

F = TypeVar("F", bound=AssetFunction)

_PACKAGE = str(Path(__file__).parent)


class Pipeline:
    """A named set of assets and sensors.

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
        self._assets: list[Asset] = []
        self._sensors: dict[str, SensorDeclaration] = {}
        self._graph = AssetGraph()

    @property
    def assets(self) -> AssetGraph:
        """The assets by name, each after those it depends on."""
        return self._graph

    @property
    def sensors(self) -> Mapping[str, SensorDeclaration]:
        """The sensors by name."""
        return dict(self._sensors)

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
            name, sensor_class, options, where=where, asset=asset, assets=self._graph
        )
        if name in self._sensors:
            first = self._sensors[name].where
            problems.insert(
                0,
                Problem(
                    f"there is already a sensor {name!r}", where, hint=f"the other is at {first}"
                ),
            )
        if problems or declaration is None:
            raise ValidationError(problems)
        self._sensors[name] = declaration

    def _declare_asset(self, function: object, options: dict[str, Any], where: str) -> None:
        subject = f"asset {options.get('name', getattr(function, '__name__', '?'))!r:.80}"
        if not callable(function) or isinstance(function, type):
            raise ValidationError(
                Problem(f"an asset is made by a function, not {function!r:.80}", where)
            )
        own_name = getattr(function, "__name__", "")
        try:
            read = _AssetOptions.model_validate({"name": own_name, **options})
        except pydantic.ValidationError as error:
            raise ValidationError(pydantic_problems(error, _AssetOptions, where, subject)) from None
        problems = []
        for upstream in read.depends_on:
            if upstream == read.name:
                problems.append(Problem(f"{subject} depends on itself: a cycle", where))
            elif upstream not in self._graph:
                problems.append(
                    missing_asset(f"{subject} depends on", upstream, self._graph, where)
                )
        if read.name in self._graph:
            first = self._graph[read.name].where
            problems.append(
                Problem(f"there is already an {subject}", where, hint=f"the other is at {first}")
            )
        if problems:
            raise ValidationError(problems)
        self._assets.append(Asset(function=function, where=where, **read.model_dump()))
        self._graph = AssetGraph(self._assets)


class _AssetOptions(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str = pydantic.Field(pattern=rf"^{NAME.pattern}$")
    depends_on: tuple[str, ...] = ()
    follow: pydantic.StrictBool = False
    max_attempts: pydantic.StrictInt = pydantic.Field(5, ge=1, le=1_000)
    backoff: Duration = timedelta(seconds=5)
    backoff_limit: Duration = timedelta(minutes=30)

    @pydantic.field_validator("depends_on", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("it is a list of names: write [...] around the one name")
        return value


def _caller() -> str:
    """Return ``file:line`` of the innermost frame outside this package: the user's own line."""
    frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads every source file of the stack
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
