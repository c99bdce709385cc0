"""A sensor's declaration: its class and its checked settings, wherever they were written."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeGuard

import pydantic

from flowstone_core.asset import NAME
from flowstone_core.errors import Problem, describe, did_you_mean
from flowstone_core.redaction import looks_secret
from flowstone_core.sensor import Sensor, SensorConfig
from flowstone_core.settings import SensorSettings

AnySensor: TypeAlias = Sensor[Any, Any]


@dataclass(frozen=True)
class SensorDeclaration:
    """A sensor, ready to be made.

    Attributes:
        name: Unique among all sensors; also the key of its stored state.
        config: An instance of the class's ``Config``.
        settings: The settings every sensor has.
        asset: The asset its events are for unless they name their own.
        where: ``file:line`` of the declaration.
        secrets: The secret values among its settings, to be kept out of every text.
    """

    name: str
    sensor_class: type[AnySensor]
    config: SensorConfig
    settings: SensorSettings
    asset: str | None
    where: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)


def is_sensor_class(value: object) -> TypeGuard[type[AnySensor]]:
    """Say whether ``value`` is a concrete sensor class with a config model."""
    return (
        isinstance(value, type)
        and issubclass(value, Sensor)
        and not inspect.isabstract(value)
        and isinstance(value.Config, type)
        and issubclass(value.Config, SensorConfig)
    )


def declare_sensor(
    name: str,
    sensor_class: object,
    options: Mapping[str, object],
    *,
    assets: Iterable[str],
    asset: str | None = None,
    where: str = "",
    places: Mapping[str, str] | None = None,
) -> tuple[SensorDeclaration | None, list[Problem]]:
    """Check everything about a sensor at once.

    Args:
        options: The settings every sensor has and those of the class's ``Config``, together.
        assets: The names of the assets there are.
        where: ``file:line`` of the declaration.
        places: ``file:line`` of single options, where they have one of their own.

    Returns:
        The declaration, and everything that is wrong; one of the two is empty.
    """
    subject = f"sensor {name!r:.210}"
    problem = name_problem(name, "a sensor", where)
    problems = [] if problem is None else [problem]
    if asset is not None and asset not in set(assets):
        problems.append(missing_asset(f"{subject} is for", asset, assets, where))
    if not is_sensor_class(sensor_class):
        what = f"{sensor_class!r:.120} is no sensor class"
        hint = "a sensor class derives from Sensor, has init and poll, and a Config"
        return None, [*problems, Problem(what, where, subject, hint)]
    own = {key: value for key, value in options.items() if key in SensorSettings.model_fields}
    rest = {key: value for key, value in options.items() if key not in own}
    settings = _check(SensorSettings, own, where, subject, places, problems)
    config = _check(sensor_class.Config, rest, where, subject, places, problems)
    if problems or settings is None or config is None:
        return None, problems
    secrets = tuple(_secrets(config))
    return (
        SensorDeclaration(name, sensor_class, config, settings, asset, where, secrets),
        [],
    )


def name_problem(name: object, what: str, where: str) -> Problem | None:
    """Say what is wrong with a name, or None if it is one."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return None
    allowed = "use letters, digits, '_', '.' and '-', at most 200, not beginning with '.' or '-'"
    return Problem(f"{name!r:.80} is no name for {what}", where, hint=allowed)


def missing_asset(what: str, asset: str, known: Iterable[str], where: str) -> Problem:
    """Say that something refers to an asset that is not there (yet)."""
    known = list(known)
    listed = ", ".join(sorted(known)[:10]) or "none"
    hint = did_you_mean(asset, known) or f"declared so far: {listed}"
    return Problem(f"{what} asset {asset!r:.80}, which is not declared", where, hint=hint)


def pydantic_problems(
    error: pydantic.ValidationError,
    model: type[pydantic.BaseModel],
    where: str,
    subject: str,
    places: Mapping[str, str] | None = None,
    also_known: Iterable[str] = (),
) -> list[Problem]:
    """Say a pydantic error in FlowStone's words, one problem for each wrong field.

    The values themselves are never shown of a field that is, or by its name looks, secret.
    """
    problems = []
    known = [*model.model_fields, *also_known]
    for item in error.errors(include_url=False, include_context=True):
        path = [str(step) for step in item["loc"]]
        key = path[0] if path else ""
        hint = ""
        if item["type"] == "extra_forbidden":
            message = "unknown setting"
            hint = did_you_mean(key, known) or f"known: {', '.join(sorted(known))}"
        elif item["type"] == "missing":
            message = "this setting is required"
            hint = (model.model_fields[key].description or "") if key in model.model_fields else ""
        elif _is_secret(model, key):
            message = "the value is not valid (hidden: it is a secret)"
        else:
            cause = item.get("ctx", {}).get("error")
            message = describe(cause) if isinstance(cause, BaseException) else item["msg"]
            message = message.removeprefix("ValueError: ").removeprefix("AssertionError: ")
            if not isinstance(cause, BaseException):
                message = f"{message}, got {item['input']!r:.80}"
        place = (places or {}).get(key, where)
        problems.append(Problem(message, place, f"{subject} {'.'.join(path)}".strip(), hint))
    return problems


def _check(
    model: type[pydantic.BaseModel],
    values: Mapping[str, object],
    where: str,
    subject: str,
    places: Mapping[str, str] | None,
    problems: list[Problem],
) -> Any:
    try:
        return model.model_validate(dict(values))
    except pydantic.ValidationError as error:
        also = SensorSettings.model_fields if model is not SensorSettings else ()
        problems.extend(pydantic_problems(error, model, where, subject, places, also))
        return None


def _is_secret(model: type[pydantic.BaseModel], key: str) -> bool:
    field_info = model.model_fields.get(key)
    return looks_secret(key) or (field_info is not None and "Secret" in str(field_info.annotation))


def _secrets(config: SensorConfig) -> Iterable[str]:
    for key in type(config).model_fields:
        value = getattr(config, key)
        if isinstance(value, pydantic.SecretStr):
            yield value.get_secret_value()
        elif isinstance(value, pydantic.SecretBytes):
            yield value.get_secret_value().decode(errors="replace")
        elif isinstance(value, str) and looks_secret(key):
            yield value
