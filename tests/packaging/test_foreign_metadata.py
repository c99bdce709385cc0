"""Distributions with broken metadata beside FlowStone's: each command still runs.

Each command is a new interpreter: what libraries read, they read when they are imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FLOWSTONE = Path(sys.executable).parent / "flowstone"
PATIENCE = 120
COMMANDS = (
    ("plugins", "list", "--json"),
    ("check",),
    ("run", "--once"),  # which creates the store, too
)


class Environment:
    """A folder with a pipeline, and one on ``sys.path`` for foreign distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.info = self.site / "foreign-3.1.dist-info"
        self.info.mkdir(parents=True)
        (self.info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 3.1\n")
        self.points = self.info / "entry_points.txt"
        (folder / "shop.py").write_text(
            "from flowstone_core import Pipeline\n"
            "pipeline = Pipeline('shop')\n"
            "pipeline.asset(name='orders')(lambda context: None)\n"
        )
        (folder / "flowstone.cfg").write_text("[flowstone]\npipelines = shop:pipeline\n")

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            check=False,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.site)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def every_command(self) -> dict[str, subprocess.CompletedProcess[str]]:
        """Run the commands; each must succeed."""
        said = {}
        for command in COMMANDS:
            ended = said[command[0]] = self.run(FLOWSTONE, *command)
            assert ended.returncode == 0, ended
            assert "Traceback" not in ended.stderr
        return said


@pytest.fixture
def house(tmp_path: Path) -> Environment:
    return Environment(tmp_path)


def without_equals(house: Environment) -> str:
    house.points.write_text("[console_scripts]\nforeign foreign:main\n")
    return "a line of it is not 'name = module'"


def bytes_of_no_text(house: Environment) -> str:
    house.points.write_bytes(b"[console_scripts]\nforeign = foreign:main\xff\n")
    return "it is not UTF-8 text"


def byte_order_mark(house: Environment) -> str:
    house.points.write_bytes(b"\xef\xbb\xbf[flowstone]\nforeign = foreign\n")
    return "it begins with a byte order mark"


def unclosed_section(house: Environment) -> str:
    house.points.write_text("[flowstone\nforeign = foreign\n")
    return "its section '[flowstone' is not closed"


def no_section(house: Environment) -> str:
    house.points.write_text("foreign = foreign\n")
    return "its first line is not a section such as '[flowstone]'"


def nul_bytes(house: Environment) -> str:
    house.points.write_bytes("[flowstone]\nforeign = foreign\n".encode("utf-16-le"))
    return "it holds NUL bytes"


def a_directory(house: Environment) -> str:
    house.points.mkdir()
    return "is a directory"


def a_loop(house: Environment) -> str:
    house.points.symlink_to(house.points.name)
    return "too many levels of symbolic links"


def no_metadata(house: Environment) -> str:
    (house.info / "METADATA").unlink()
    return without_equals(house)


def unreadable_metadata(house: Environment) -> str:
    (house.info / "METADATA").write_bytes(b"Name: \xff")
    return without_equals(house)


@pytest.mark.parametrize(
    "damage",
    [
        without_equals,
        bytes_of_no_text,
        byte_order_mark,
        unclosed_section,
        no_section,
        nul_bytes,
        a_directory,
        a_loop,
        no_metadata,
        unreadable_metadata,
    ],
)
def test_G3_unreadable_entry_points_are_told_and_end_no_command(
    house: Environment, damage: Callable[[Environment], str]
) -> None:
    cause = damage(house)
    said = house.every_command()
    expected = f"plugin '?' of foreign 3.1: broken: its entry_points.txt cannot be read: {cause}"
    assert f"warning: {expected} (install foreign again)" in said["check"].stderr
    listed = json.loads(said["plugins"].stdout)
    statuses = {each["distribution"]: each["status"] for each in listed}
    assert statuses.pop("foreign") == "broken"
    assert set(statuses.values()) == {"ok"}


@pytest.mark.parametrize(
    ("group", "module"),
    [
        ("pydantic", "raise RuntimeError('not today')"),
        ("pydantic", "raise SystemExit"),
        ("alembic.plugins", "raise RuntimeError('not today')"),
        ("alembic.plugins", "misspelt = 1"),
    ],
)
def test_G3_plugin_of_a_library_that_fails_ends_no_command(
    house: Environment, group: str, module: str
) -> None:
    house.points.write_text(f"[{group}]\nforeign = foreign:main\n")
    (house.site / "foreign.py").write_text(module)
    ended = house.run(FLOWSTONE, "run", "--once")
    assert ended.returncode == 0, ended


def test_G3_plugins_of_pydantic_that_work_stay_on(house: Environment) -> None:
    house.points.write_text("[pydantic]\nforeign = foreign:plugin\n")
    (house.site / "foreign.py").write_text(
        "class Plugin:\n"
        "    def new_schema_validator(self, *_):\n"
        "        print('asked')\n"
        "        return None, None, None\n"
        "plugin = Plugin()\n"
    )
    said = house.run("-c", "import flowstone_core.model.setting_types").stdout
    assert "asked" in said


def test_G3_other_readers_get_what_is_readable(house: Environment) -> None:
    without_equals(house)
    program = """
from flowstone_core import Pipeline
Pipeline
from importlib.metadata import entry_points
print(len(entry_points(group="flowstone")), len(entry_points().select(group="flowstone")))
"""
    ended = house.run("-c", program)
    assert ended.stdout.split() == ["4", "4"], ended


def test_G3_unknown_database_is_told_beside_broken_metadata(house: Environment) -> None:
    bytes_of_no_text(house)
    (house.folder / "flowstone.cfg").write_text(
        "[flowstone]\npipelines = shop:pipeline\nstore = nodatabase://x\n"
    )
    ended = house.run(FLOWSTONE, "check", "--connect")
    assert ended.returncode == 2
    assert "unsupported store URL" in ended.stderr
    assert "FlowStone or in a plugin" not in ended.stderr
