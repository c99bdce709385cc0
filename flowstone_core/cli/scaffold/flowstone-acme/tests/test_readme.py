"""The README has the settings of the sensor as they are."""

from __future__ import annotations

from pathlib import Path

from flowstone_acme import AcmeFiles

from flowstone_core.testing import settings_table

README = Path(__file__, "../../README.md").resolve().read_text("utf-8")


def test_the_readme_has_the_settings() -> None:
    """Put there what `flowstone plugins show acme_files --markdown` prints."""
    begin, end = "<!-- settings of acme_files -->\n", "\n<!-- end of settings -->"
    assert README.partition(begin)[2].partition(end)[0] == settings_table(AcmeFiles.Config)
