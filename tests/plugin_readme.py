"""README of a plugin: its configuration is valid, its settings tables match the models."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.testing import settings_table

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


class Readme:
    """README of one plugin.

    Args:
        plugin: The plugin's folder.
    """

    def __init__(self, plugin: str) -> None:
        self.text = (PLUGINS / plugin / "README.md").read_text("utf-8")
        self.sections = re.findall(r"```ini\n(.*?)```", self.text, re.DOTALL)

    def assert_settings(self, name: str, sensor: Any) -> None:
        """Compare a table; `flowstone plugins show NAME --markdown` prints the right one."""
        marks = rf"<!-- settings of {name} -->\n(.*?)\n<!-- end of settings -->"
        (found,) = re.findall(marks, self.text, re.DOTALL)
        assert found == settings_table(sensor.Config)


def validate(text: str, sensors: Mapping[str, Any]) -> None:
    """Validate the sections of a configuration by the models of their sensors."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    for name in parser.sections():
        options = dict(parser[name])
        sensor = sensors[options.pop("type")]
        assert options.pop("asset")
        own = {key: options.pop(key) for key in list(options) if key in SensorSettings.model_fields}
        SensorSettings.model_validate(own)
        sensor.Config.model_validate({key: _lines(value) for key, value in options.items()})


def _lines(text: str) -> str | list[str]:
    """A list has one item a line, below its name."""
    return text.split() if text.startswith("\n") else text
