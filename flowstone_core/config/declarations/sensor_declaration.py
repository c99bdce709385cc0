"""Sensor declarations: a class and its settings, validated, from a file or a pipeline."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from urllib.parse import unquote, urlsplit

import pydantic

from flowstone_core.config.declarations.problems import (
    M,
    is_secret,
    missing_asset,
    name_problem,
    pydantic_problems,
)
from flowstone_core.errors import Problem
from flowstone_core.model.redaction import Redactor, looks_secret
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor import SensorDeclaration, is_sensor_class
from flowstone_core.model.sensor_settings import SensorSettings

_RESERVED = frozenset({*SensorSettings.model_fields, "type", "asset", "on_trigger"})


def declare_sensor(
    name: str,
    sensor_class: object,
    options: Mapping[str, object],
    *,
    assets: Collection[str],
    asset: str | None = None,
    where: str = "",
    places: Mapping[str, str] | None = None,
) -> tuple[SensorDeclaration | None, list[Problem]]:
    """Check everything about a sensor at once.

    Args:
        options: The settings every sensor has and those of the class's ``Config``, together.
        assets: The names of the declared assets.
        asset: The asset that the sensor's events are for.
        where: ``file:line`` of the declaration.
        places: ``file:line`` of single options.

    Returns:
        The declaration, and all problems; one of the two is empty.
    """
    subject = f"sensor {name!r:.210}"
    own = {key: value for key, value in options.items() if key in SensorSettings.model_fields}
    rest = {key: value for key, value in options.items() if key not in own}
    problems = list(filter(None, [name_problem(name, "sensor", where)]))
    if asset is not None and asset not in list(assets):
        problems.append(missing_asset(f"{subject} asset", asset, assets, where))
    settings = _check(SensorSettings, own, where, subject, places, problems)
    if not is_sensor_class(sensor_class):
        message = f"{sensor_class!r:.120} is not a sensor class"
        hint = "a sensor class derives from Sensor, has init and poll, and a Config"
        return None, [*problems, Problem(message, where, subject, hint)]
    if asset is None and sensor_class.asset_required:
        hint = "its events name no asset: give it an asset, or a function as on_trigger"
        problems.append(Problem("missing setting", where, f"{subject} asset", hint))
    problems += _reserved_fields(sensor_class.Config, where, subject)
    config = _check(sensor_class.Config, rest, where, subject, places, problems)
    if problems or settings is None or config is None:
        return None, problems
    secrets = tuple(_secrets(config))
    kind = sensor_class.__name__
    return SensorDeclaration(name, sensor_class, config, settings, asset, where, secrets, kind), []


def _reserved_fields(
    model: type[pydantic.BaseModel], where: str, subject: str
) -> Iterable[Problem]:
    for key in sorted(_RESERVED & model.model_fields.keys()):
        message = f"reserved Config field {key!r}: every sensor has a setting with this name"
        yield Problem(message, where, subject, "give the field another name")


def _check(
    model: type[M],
    values: Mapping[str, object],
    where: str,
    subject: str,
    places: Mapping[str, str] | None,
    problems: list[Problem],
) -> M | None:
    # A generator: secrets are searched only after an error, because sensors may be thousands.
    secrets = (
        secret
        for key, value in values.items()
        for secret in _secrets(value, secret=is_secret(model, key))
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
        text = f"Config raised {describe(error, Redactor(secrets))}"
        problems.append(Problem(text, where, subject, "a validator should raise ValueError"))
    return None


def _secrets(value: object, *, secret: bool = False) -> Iterable[str]:
    """Yield the secrets in a setting's value and in the values nested in it.

    Args:
        secret: True if the name of the setting marks the value as a secret.
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
        # An error may quote the password of a URL alone, even if the whole URL is a secret.
        yield from _url_password(value)


def _url_password(value: object) -> Iterable[str]:
    try:
        text = str(value)
        password = urlsplit(text).password if "@" in text else None
    except Exception:  # noqa: BLE001 - not a URL, or a foreign value whose str() raises
        return
    if password:
        yield from {password, unquote(password)}
