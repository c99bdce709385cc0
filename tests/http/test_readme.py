"""README of the plugin: its configuration is valid, its settings are complete."""

from __future__ import annotations

from flowstone_http.sensor import Webhook

from tests.plugin_readme import Readme


def test_readme_settings_table_matches_the_model() -> None:
    Readme("flowstone-http").assert_settings("webhook", Webhook)
