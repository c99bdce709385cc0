"""The sensor keeps the contract that every sensor has: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from flowstone_acme import AcmeFiles

from flowstone_core import PollContext
from flowstone_core.testing import SensorContract


class TestAcmeFiles(SensorContract):
    """What is done to the sensor stands in `SensorContract`; here is what it is done with."""

    invalid_settings = (({"folder": ...}, "folder"), ({"suffix": 5}, "suffix"))
    not_applicable: ClassVar = {
        "secrets": "there are none",
        "hang_source": "a folder always answers",
    }

    @pytest.fixture
    def source(self, tmp_path: Path) -> None:
        """Have a folder to watch."""
        self.folder = tmp_path / "inbox"
        self.folder.mkdir()

    def make_sensor(self, context: PollContext) -> AcmeFiles:
        """Make the sensor over the folder; called again for what a restart leaves."""
        return AcmeFiles(AcmeFiles.Config(folder=self.folder), context)

    def change(self, number: int) -> str:
        """Make the outside world change, so that the next poll must fire."""
        file = self.folder / f"file-{number}.csv"
        file.write_text("one")
        return file.name

    @contextmanager
    def break_source(self) -> Iterator[None]:
        """Have the folder be somewhere else for a while."""
        away = self.folder.rename(self.folder.with_name("away"))
        yield
        away.rename(self.folder)
