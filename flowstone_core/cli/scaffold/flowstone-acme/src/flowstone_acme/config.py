"""Settings of `acme_files`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from flowstone_core import SensorConfig


class AcmeFilesConfig(SensorConfig):
    """Settings of the sensor: the folder, and the files in it that fire.

    FlowStone validates setup.cfg against this model before it runs anything, and shows the
    descriptions in `flowstone plugins show acme_files`. Use `pydantic.SecretStr` for secrets.
    """

    folder: Path = Field(description="the folder that is watched; it must exist")
    suffix: str = Field("", description="only files whose names end with it count, such as .csv")
