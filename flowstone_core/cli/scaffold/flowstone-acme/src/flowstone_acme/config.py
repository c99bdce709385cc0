"""The settings of `acme_files`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from flowstone_core import SensorConfig


class AcmeFilesConfig(SensorConfig):
    """Which folder is watched, and which of its files count.

    What setup.cfg says is checked against it before anything runs. The descriptions are what
    `flowstone plugins show acme_files` and the README have. Use `pydantic.SecretStr` for secrets.
    """

    folder: Path = Field(description="the folder that is watched; it must exist")
    suffix: str = Field("", description="only files whose names end with it count, such as .csv")
