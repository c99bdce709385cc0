"""The plugin's README says what is true: its configuration is valid, its settings are all there."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from flowstone_db import flowstone_sensors

from flowstone_core.settings import SensorSettings

README = Path(__file__, "../../../plugins/flowstone-db/README.md").resolve().read_text("utf-8")
SECTIONS = re.findall(r"```ini\n(.*?)```", README, re.DOTALL)


def test_there_are_examples() -> None:
    assert len(SECTIONS) == 3


@pytest.mark.parametrize("text", SECTIONS)
def test_every_example_is_valid(text: str) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    for name in parser.sections():
        options = dict(parser[name])
        sensor = flowstone_sensors()[options.pop("type")]
        assert options.pop("asset")
        own = {key: options.pop(key) for key in list(options) if key in SensorSettings.model_fields}
        SensorSettings.model_validate(own)
        sensor.Config.model_validate(options)


def test_every_setting_is_described_and_no_other() -> None:
    tables = re.findall(r"^\| setting \|.*\n((?:\|.*\n)+)", README, re.MULTILINE)
    rows = re.findall(r"^\| (`.*?) \|", "".join(tables), re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    models = [sensor.Config.model_fields for sensor in flowstone_sensors().values()]
    assert described == {name for fields in models for name in fields}
