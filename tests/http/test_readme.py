"""README of the plugin: its configuration is valid, its settings are complete."""

from __future__ import annotations

import re
from pathlib import Path

from flowstone_http.config import WebhookConfig

from flowstone_core.testing import settings_table

README = Path(__file__, "../../../plugins/flowstone-http/README.md").resolve().read_text("utf-8")


def test_readme_settings_table_matches_the_model() -> None:
    """Where it is not, print it by ``flowstone plugins show webhook --markdown``."""
    marks = r"<!-- settings of webhook -->\n(.*?)\n<!-- end of settings -->"
    (found,) = re.findall(marks, README, re.DOTALL)
    assert found == settings_table(WebhookConfig)
