"""Asset declarations: a function and its options, validated, from a pipeline or a sensor."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal, TypedDict, cast

import pydantic

from flowstone_core.config.declarations.problems import (
    duplicate,
    missing_asset,
    name_problem,
    own_name,
    pydantic_problems,
)
from flowstone_core.errors import Problem
from flowstone_core.model.asset import Asset, AssetFunction
from flowstone_core.model.callables import is_async, is_deferred
from flowstone_core.model.setting_types import PositiveDuration


class AssetOptions(TypedDict, total=False):
    """Options of an asset; a duration may be a text such as ``5s``.

    Attributes:
        name: The asset's name; by default that of the function.
        depends_on: Names of assets, declared before, whose same partition must be completed first.
        follow: True to materialize a partition again whenever one of ``depends_on`` completes it.
        max_attempts: Attempts before the materialization is discarded; 5 by default.
        backoff: The first delay between attempts, doubled each time; ``5s`` by default.
        backoff_limit: The longest delay between attempts; ``30m`` by default.
        timeout: The longest duration of one attempt; no limit by default.
        run_in: ``thread``, or ``process``: a child process, which is killed at the timeout.
    """

    name: str | None
    depends_on: Iterable[str]
    follow: bool
    max_attempts: int
    backoff: timedelta | str
    backoff_limit: timedelta | str
    timeout: timedelta | str | None
    run_in: Literal["thread", "process"]


def declare_asset(
    function: object, options: Mapping[str, object], known: Mapping[str, Asset], where: str
) -> tuple[Asset | None, list[Problem]]:
    """Check everything about an asset at once.

    Args:
        function: The function that materializes it.
        options: The options of `Pipeline.asset`.
        known: The assets declared before it.
        where: ``file:line`` of the declaration.

    Returns:
        The asset, and all problems; one of the two is empty.
    """
    wrong = _function_problem(function, where)
    if wrong is not None:
        return None, [wrong]
    options = dict(options)
    if options.get("name") is None:
        options["name"] = own_name(function)
    upstreams = options.get("depends_on", ())
    if isinstance(upstreams, Iterable) and not isinstance(upstreams, str | bytes | Mapping):
        upstreams = options["depends_on"] = tuple(upstreams)
    subject = f"asset {options['name']!r:.210}"
    problems: list[Problem] = []
    read: _Options | None = None
    try:
        read = _Options.model_validate(options)
    except pydantic.ValidationError as error:
        problems += pydantic_problems(error, _Options, where, subject)
    # Names are checked even if another option is invalid, so that one run reports everything.
    problems += _name_problems(options["name"], upstreams, known, subject, where)
    if read is not None and read.follow and not read.depends_on:
        problems.append(Problem("follow needs depends_on", where, subject))
    if problems or read is None:
        return None, problems
    return Asset(function=cast("AssetFunction", function), where=where, **read.model_dump()), []


def declare_handler(
    function: object, sensor: str, asset: str | None, known: Mapping[str, Asset], where: str
) -> tuple[Asset | None, list[Problem]]:
    """Declare the ``on_trigger`` function of a sensor as an asset with the sensor's name.

    Args:
        function: The value of ``on_trigger``.
        sensor: The sensor's name.
        asset: The value of the sensor's ``asset``, which must be None.
        known: The declared assets.
        where: ``file:line`` of the reference.

    Returns:
        The asset, and all problems; one of the two is empty.
    """
    subject = f"sensor {sensor!r:.210} on_trigger"
    problems = []
    if asset is not None:
        message = "asset and on_trigger exclude each other: the function stands for the asset"
        problems.append(Problem(message, where, subject))
    if sensor in known:
        message = f"duplicate asset {sensor!r:.210}: on_trigger declares one with this name"
        hint = "give the sensor another name, or write asset = ..."
        problems.append(Problem(message, where, subject, hint))
    if isinstance(function, str):
        hint = "in setup.cfg it is module:name; in Python give the function itself"
        problems.append(
            Problem(f"must be a function, not the text {function!r:.80}", where, subject, hint)
        )
    if name_problem(sensor, "sensor", where) is not None or problems:
        return None, problems
    return declare_asset(function, {"name": sensor}, known, where)


class _Options(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    name: str
    depends_on: tuple[Any, ...] = ()
    follow: pydantic.StrictBool = False
    max_attempts: pydantic.StrictInt = pydantic.Field(5, ge=1, le=1_000)
    backoff: PositiveDuration = timedelta(seconds=5)
    backoff_limit: PositiveDuration = timedelta(minutes=30)
    timeout: PositiveDuration | None = None
    run_in: Literal["thread", "process"] = "thread"

    @pydantic.field_validator("name", mode="before")
    @classmethod
    def _name(cls, value: object) -> object:
        problem = name_problem(value, "asset", "")
        if problem is not None:
            raise ValueError(str(problem))
        return value

    @pydantic.field_validator("depends_on", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("must be a list of names: write [...] around the one name")
        return value


def _name_problems(
    name: object, upstreams: object, known: Mapping[str, Asset], subject: str, where: str
) -> Iterator[Problem]:
    first = known.get(name) if isinstance(name, str) else None
    if first is not None:
        yield duplicate(subject, where, first.where)
    if not isinstance(upstreams, tuple):
        return
    for number, upstream in enumerate(upstreams):
        if upstream == name:
            yield Problem("dependency cycle: the asset depends on itself", where, subject)
        elif upstream in upstreams[:number]:
            yield Problem(f"duplicate dependency {upstream!r:.80}", where, f"{subject} depends_on")
        elif upstream not in list(known):
            yield missing_asset(f"{subject} depends_on", upstream, known, where)


def _function_problem(function: object, where: str) -> Problem | None:
    if not callable(function) or isinstance(function, type):
        return Problem(f"an asset must be a function, not {function!r:.80}", where)
    subject = f"asset function {own_name(function)!r:.80}"
    if is_async(function):
        return Problem(
            "must not be async: FlowStone calls it in a thread", where, subject, "use def"
        )
    if is_deferred(function):
        return Problem("must not be a generator: a call would run nothing", where, subject)
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return Problem("must take one argument, the context", where, subject)
    except ValueError:  # a function written in C may have no signature
        pass
    return None
