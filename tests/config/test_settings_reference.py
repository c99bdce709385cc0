"""Settings described for people and shown without secrets."""

from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ImportString, SecretStr

from flowstone_core import NotTriggered, Sensor, SensorConfig
from flowstone_core.config.declarations.sensor_declaration import declare_sensor
from flowstone_core.config.settings_reference import (
    describe_settings,
    given_settings,
    settings_table,
)
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.model.setting_types import Duration


class Mode(Enum):
    FAST = "fast"
    SAFE = "safe"


class Strange:
    def __str__(self):
        raise ValueError("I will not say")


class Project(SensorConfig):
    """Of every kind."""

    bucket: str = Field(description="the bucket")
    count: Annotated[int, Field(ge=1, le=10)] = 3
    ratio: float | None = None
    on: bool = True
    mode: Mode = Mode.SAFE
    kind: Literal["a", "b"] = "a"
    wait: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=90)
    files: tuple[Path, ...] = ()
    names: list = Field(default_factory=list)
    key: Annotated[SecretStr, Field(min_length=1)] | None = None
    password: str = "changeme"
    fn: ImportString[Callable[[str], object]] | None = None
    direct: ImportString | None = None
    strange: Strange = Strange()
    either: int | str = 1


class Anything(Sensor[Project, None]):
    Config = Project

    def init(self):
        return None

    def poll(self, state):
        return NotTriggered(state)


@pytest.fixture
def described():
    return {row["name"]: row for row in describe_settings(Project)}


@pytest.mark.parametrize(
    ("name", "words", "default"),
    [
        ("bucket", "text", None),
        ("count", "integer >= 1 <= 10", "3"),
        ("ratio", "number", None),
        ("on", "true or false", "true"),
        ("mode", "fast or safe", "safe"),
        ("kind", "a or b", "a"),
        ("wait", "duration > 0s", "1m30s"),
        ("files", "list of path, one a line", ""),
        ("names", "list, one a line", "(computed)"),
        ("key", "secret", None),
        ("password", "text", "***"),
        ("fn", "module:name", None),
        ("direct", "module:name", None),
        ("strange", "Strange", "<cannot be shown: ValueError: I will not say>"),
        ("either", "integer or text", "1"),
    ],
)
def test_setting_is_described_in_words(described, name, words, default):
    assert described[name]["type"] == words
    assert described[name]["default"] == default
    assert described[name]["required"] is (name == "bucket")


def test_description_is_given_or_empty(described):
    assert described["bucket"]["description"] == "the bucket"
    assert described["ratio"]["description"] == ""


def test_common_durations_are_described_as_durations():
    types = {row["name"]: row["type"] for row in describe_settings(SensorSettings)}
    assert types["every"] == "duration"
    assert types["quarantine_after"] == "integer >= 1"
    assert types["first_poll"] == "fire or baseline"


def test_given_settings_are_shown_without_secrets():
    declaration, problems = declare_sensor(
        "any",
        Anything,
        {
            "bucket": "shop-of-hunter2",
            "key": "k",
            "password": "p",
            "files": ["a", "b"],
            "fn": "os.path:join",
            "every": "90s",
            "ratio": None,
        },
        assets=(),
    )
    assert problems == []
    given = given_settings(declaration, Redactor(["hunter2"]))
    assert given == {
        "bucket": "shop-of-***",
        "key": "***",
        "password": "***",
        "files": "a, b",
        "fn": "posixpath:join",
        "every": "1m30s",
    }
    everything = given_settings(declaration, str, defaults=True)
    assert everything.keys() == Project.model_fields.keys() | SensorSettings.model_fields.keys()
    assert everything["ratio"] == ""
    assert everything["deadline"] == "1m"


def test_readme_table_has_all_settings_and_whole_cells():
    class Config(SensorConfig):
        """Two settings."""

        check: str = Field(description="one | two,\n    on two lines")
        wait: Duration = Field(timedelta(seconds=90), description="how long")
        region: str | None = Field(None, description="where")

    assert settings_table(Config).splitlines() == [
        "| setting | takes | default | meaning |",
        "| --- | --- | --- | --- |",
        r"| `check` | text | required | one \| two, on two lines |",
        "| `wait` | duration | `1m30s` | how long |",
        "| `region` | text |  | where |",
    ]
