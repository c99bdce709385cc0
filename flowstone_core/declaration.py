"""A sensor's declaration: its class and its checked settings, wherever they were written."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar
from urllib.parse import unquote, urlsplit

import pydantic

from flowstone_core.asset import NAME
from flowstone_core.errors import Problem, describe, did_you_mean, printable
from flowstone_core.redaction import Redactor, looks_secret
from flowstone_core.sensor import Sensor, SensorConfig
from flowstone_core.settings import SensorSettings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

AnySensor: TypeAlias = Sensor[Any, Any]
M = TypeVar("M", bound=pydantic.BaseModel)

_RESERVED = frozenset({*SensorSettings.model_fields, "type", "asset", "on_trigger"})
# Errors of fields that hold others: a text in their place may hold a secret among other things.
_STRUCTURED = frozenset({"model_type", "model_attributes_type", "dict_type", "mapping_type"})


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
        type: What configuration calls the class; the class's own name in a pipeline.
    """

    name: str
    sensor_class: type[AnySensor]
    config: SensorConfig = field(repr=False)
    settings: SensorSettings
    asset: str | None
    where: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    type: str = ""


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
    own = {key: value for key, value in options.items() if key in SensorSettings.model_fields}
    rest = {key: value for key, value in options.items() if key not in own}
    problems: list[Problem] = []
    wrong_name = name_problem(name, "a sensor", where)
    if wrong_name is not None:
        problems.append(wrong_name)
    known = list(assets)
    if asset is not None and asset not in known:
        problems.append(missing_asset(f"{subject} is for", asset, known, where))
    settings = _check(SensorSettings, own, where, subject, places, problems)
    if not is_sensor_class(sensor_class):
        what = f"{sensor_class!r:.120} is no sensor class"
        hint = "a sensor class derives from Sensor, has init and poll, and a Config"
        return None, [*problems, Problem(what, where, subject, hint)]
    for key in sorted(_RESERVED & sensor_class.Config.model_fields.keys()):
        what = f"its Config has a field {key!r}, but every sensor has a setting of that name"
        problems.append(Problem(what, where, subject, "give the field another name"))
    config = _check(sensor_class.Config, rest, where, subject, places, problems)
    if problems or settings is None or config is None:
        return None, problems
    secrets = tuple(_secrets(config))
    kind = sensor_class.__name__
    return SensorDeclaration(name, sensor_class, config, settings, asset, where, secrets, kind), []


def name_problem(name: object, what: str, where: str) -> Problem | None:
    """Say what is wrong with a name, or None if it is one."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return None
    allowed = "use letters, digits, '_', '.' and '-', at most 200, not beginning with '.' or '-'"
    return Problem(f"{name!r:.80} is no name for {what}", where, hint=allowed)


def missing_asset(what: str, asset: object, known: Iterable[str], where: str) -> Problem:
    """Say that something refers to an asset that is not there (yet)."""
    known = list(known)
    if not isinstance(asset, str):
        hint = f"give its name, {own_name(asset)!r}" if own_name(asset) in known else ""
        return Problem(f"{what} {asset!r:.80}; an asset is named by a text", where, hint=hint)
    listed = ", ".join(sorted(known)[:10]) or "none"
    hint = did_you_mean(asset, known) or f"declared so far: {listed}"
    return Problem(f"{what} asset {asset!r:.80}, which is not declared", where, hint=hint)


def own_name(function: object) -> str:
    """Return the name that a function has of itself; empty for what has none."""
    name: object = getattr(function, "__name__", "")
    return name if isinstance(name, str) else ""


def pydantic_problems(
    error: pydantic.ValidationError,
    model: type[pydantic.BaseModel],
    where: str,
    subject: str,
    places: Mapping[str, str] | None = None,
    also_known: Iterable[str] = (),
    redact: Callable[[str], str] = Redactor(),  # noqa: B008 - it holds nothing that changes
) -> list[Problem]:
    """Say a pydantic error in FlowStone's words, one problem for each wrong field.

    The value itself is never shown of a field that is, or by its name looks, secret, nor of one
    that should hold others.

    Args:
        also_known: Names of settings that are read elsewhere, for "did you mean".
        redact: Hides secrets in the messages of validators.
    """
    known = [*model.model_fields, *also_known]
    problems = []
    for item in error.errors(include_url=False):
        path = [str(step) for step in item["loc"]]
        key = path[0] if path else ""
        hint = ""
        if item["type"] == "extra_forbidden":
            message = "unknown setting"
            if len(path) == 1:
                hint = did_you_mean(key, known) or f"known: {', '.join(sorted(known))}"
        elif item["type"] == "missing":
            message = "this setting is required"
            field_info = _field(model, key)
            hint = (field_info.description or "") if field_info is not None else ""
        elif _is_secret(model, key) or any(map(looks_secret, path)):
            message = "the value is not valid (hidden: it is a secret)"
        else:
            message = _message(item, redact)
        place = (places or {}).get(key, where)
        problems.append(Problem(message, place, f"{subject} {'.'.join(path)}".strip(), hint))
    return problems


def _message(item: ErrorDetails, redact: Callable[[str], str]) -> str:
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, BaseException):
        text = describe(cause, redact)
        return text.removeprefix("ValueError: ").removeprefix("AssertionError: ")
    value = item["input"]
    if isinstance(value, str | int | float | None) and item["type"] not in _STRUCTURED:
        # Redacted before it is cut: half a secret would not be known as one.
        return f"{redact(item['msg'])}, got {printable(redact(repr(value)), 80)}"
    return f"{redact(item['msg'])}, got a value of type {type(value).__qualname__}"


def _check(
    model: type[M],
    values: Mapping[str, object],
    where: str,
    subject: str,
    places: Mapping[str, str] | None,
    problems: list[Problem],
) -> M | None:
    # Looked for only when something is wrong: there may be thousands of sensors.
    secrets = (
        secret
        for key, value in values.items()
        for secret in _secrets(value, secret=_is_secret(model, key))
    )
    try:
        return model.model_validate(dict(values))
    except pydantic.ValidationError as error:
        also = () if model is SensorSettings else SensorSettings.model_fields
        redact = Redactor(secrets)
        problems += pydantic_problems(error, model, where, subject, places, also, redact)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a Config is foreign code
        text = f"its Config raised {describe(error, Redactor(secrets))}"
        problems.append(Problem(text, where, subject, "a validator should raise ValueError"))
    return None


def _field(model: type[pydantic.BaseModel], key: str) -> FieldInfo | None:
    for name, field_info in model.model_fields.items():
        if key in (name, field_info.alias, field_info.validation_alias):
            return field_info
    return None


def _is_secret(model: type[pydantic.BaseModel], key: str) -> bool:
    field_info = _field(model, key)
    return looks_secret(key) or (field_info is not None and "Secret" in str(field_info.annotation))


def _secrets(value: object, *, secret: bool = False) -> Iterable[str]:
    """Find the secrets in a setting's value, and in whatever it holds.

    Args:
        secret: Whether the name of the setting says that it is one.
    """
    if isinstance(value, pydantic.BaseModel):
        value = {key: getattr(value, key) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, secret=secret or looks_secret(str(key)))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item, secret=secret)
    elif isinstance(value, pydantic.SecretStr | pydantic.SecretBytes | pydantic.Secret):
        yield from _secrets(value.get_secret_value(), secret=True)
    elif isinstance(value, bytes):
        yield from _secrets(value.decode(errors="replace"), secret=secret)
    elif value is not None:
        if secret:
            yield str(value)
        # That of a URL may stand alone in an error, whether or not the whole URL is a secret.
        yield from _url_password(value)


def _url_password(value: object) -> Iterable[str]:
    try:
        password = urlsplit(str(value)).password
    except Exception:  # noqa: BLE001 - not a URL, or a foreign value that cannot say what it is
        return
    if password:
        yield from {password, unquote(password)}
