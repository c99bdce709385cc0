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
    """The sensor and its external source, for the checks of `SensorContract`."""

    invalid_settings = (({"folder": ...}, "folder"), ({"suffix": 5}, "suffix"))
    not_applicable: ClassVar = {
        "secrets": "there are none",
        "hang_source": "a folder always answers",
        "endless_source": "a poll reads one folder",
        "change_to_skip": "every file fires, except those that the suffix leaves out",
    }

    @pytest.fixture
    def source(self, tmp_path: Path) -> None:
        """Create the folder that is watched."""
        self.folder = tmp_path / "inbox"
        self.folder.mkdir()

    def make_sensor(self, context: PollContext) -> AcmeFiles:
        """Create a sensor for the folder; a second one stands for a restart."""
        return AcmeFiles(AcmeFiles.Config(folder=self.folder), context)

    def change(self, number: int) -> str:
        """Add a file, so that the next poll must fire."""
        file = self.folder / f"file-{number}.csv"
        file.write_text("one")
        return file.name

    @contextmanager
    def break_source(self) -> Iterator[None]:
        """Move the folder away for the time of the block."""
        away = self.folder.rename(self.folder.with_name("away"))
        yield
        away.rename(self.folder)
