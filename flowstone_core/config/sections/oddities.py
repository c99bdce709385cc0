"""Oddities: warnings of quotes and inline comments, which are part of a value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowstone_core.config.model_fields import is_verbatim
from flowstone_core.errors import Problem
from flowstone_core.model.sensor import is_sensor_class

if TYPE_CHECKING:
    import pydantic

    from flowstone_core.config.file.reader import Config
    from flowstone_core.config.file.section import Section
    from flowstone_core.plugin.registry import Plugins


def oddities(config: Config, plugins: Plugins) -> Iterator[Problem]:
    """Yield a warning for each text that is part of a value and may be meant otherwise.

    Settings that a sensor's ``Config`` marks as `Verbatim` have none: quotes mean something there.
    """
    unmarked = [config.run] if config.run is not None else []
    for section in (*unmarked, *(each for _, each in config.schedules)):
        yield from _oddities(section, None)
    for _, section in config.sensors:
        kind = section.settings.get("type")
        provided = plugins.sensors.get(kind.value) if kind is not None else None
        sensor_class = provided.value if provided is not None else None
        model = sensor_class.Config if is_sensor_class(sensor_class) else None
        yield from _oddities(section, model)


def _oddities(section: Section, model: type[pydantic.BaseModel] | None) -> Iterator[Problem]:
    for key, setting in section.settings.items():
        if model is None or not is_verbatim(model, key):
            for message, hint in setting.oddities:
                yield Problem(message, section.where(key), f"{section.title} {key}", hint)
