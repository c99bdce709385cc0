"""README of the plugin: its configuration is valid, its settings are complete."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from flowstone_s3 import flowstone_sensors

from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.testing import settings_table

README = Path(__file__, "../../../plugins/flowstone-s3/README.md").resolve().read_text("utf-8")
SECTIONS = re.findall(r"```ini\n(.*?)```", README, re.DOTALL)


def test_readme_has_examples() -> None:
    assert len(SECTIONS) >= 4


@pytest.mark.parametrize("text", SECTIONS)
def test_readme_example_is_valid(text: str) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    for name in parser.sections():
        options = dict(parser[name])
        sensor = flowstone_sensors()[options.pop("type")]
        assert options.pop("asset")
        own = {key: options.pop(key) for key in list(options) if key in SensorSettings.model_fields}
        SensorSettings.model_validate(own)
        sensor.Config.model_validate(options)


@pytest.mark.parametrize("name", flowstone_sensors())
def test_readme_settings_tables_match_the_models(name: str) -> None:
    """Where one is not, print it by ``flowstone plugins show NAME --markdown``."""
    marks = rf"<!-- settings of {name} -->\n(.*?)\n<!-- end of settings -->"
    (found,) = re.findall(marks, README, re.DOTALL)
    assert found == settings_table(flowstone_sensors()[name].Config)
