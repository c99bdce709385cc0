"""README of the plugin: its configuration is valid, its settings are complete."""

from __future__ import annotations

import pytest
from flowstone_s3 import flowstone_sensors

from tests.plugin_readme import Readme, validate

README = Readme("flowstone-s3")


def test_readme_has_examples() -> None:
    assert len(README.sections) >= 4


@pytest.mark.parametrize("text", README.sections)
def test_readme_example_is_valid(text: str) -> None:
    validate(text, flowstone_sensors())


@pytest.mark.parametrize("name", flowstone_sensors())
def test_readme_settings_tables_match_the_models(name: str) -> None:
    README.assert_settings(name, flowstone_sensors()[name])
