"""``flowstone new-plugin``: what it writes is installed by pip for real, tested, and found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FLOWSTONE = Path(sys.executable).parent / "flowstone"
ROOT = Path(__file__).resolve().parents[2]


def run(
    folder: Path, *command: str | Path, code: int = 0, site: str = "site"
) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if "FLOWSTONE" not in name}
    ended = subprocess.run(
        command,
        cwd=folder,
        env=own | {"PYTHONPATH": str(folder / site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended


def pip(folder: Path, command: str, *arguments: str | Path) -> None:
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(folder, sys.executable, "-m", "pip", command, *options, *arguments)


def test_a_new_plugin_installs_passes_its_tests_and_is_found(tmp_path: Path) -> None:
    ended = run(tmp_path, FLOWSTONE, "new-plugin", "tide-gauge", "--type", "tides")
    assert "    src/flowstone_tide_gauge/sensor.py\n" in ended.stdout
    assert "    flowstone plugins show tides\n" in ended.stdout
    plugin = tmp_path / "flowstone-tide-gauge"
    pip(tmp_path, "install", "--target", tmp_path / "site", plugin)

    pytest_command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    tests = run(plugin, *pytest_command, site="../site")
    assert " passed" in tests.stdout
    assert " 4 skipped" in tests.stdout, "what does not apply to a folder"

    listed = json.loads(run(tmp_path, FLOWSTONE, "plugins", "list", "--json").stdout)
    (found,) = [each for each in listed if each["distribution"] == "flowstone-tide-gauge"]
    assert (found["name"], found["status"], found["sensors"]) == ("tide-gauge", "ok", ["tides"])


def test_a_new_plugin_finds_files_in_a_run(tmp_path: Path) -> None:
    run(tmp_path, FLOWSTONE, "new-plugin", "tide-gauge", "--type", "tides")
    pip(tmp_path, "install", "--target", tmp_path / "site", tmp_path / "flowstone-tide-gauge")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.csv").write_text("1")
    (tmp_path / "handler.py").write_text(
        "def handle(context):\n    return dict(context.payloads[0])\n"
    )
    (tmp_path / "setup.cfg").write_text(
        "[flowstone:sensor:inbox]\ntype = tides\nfolder = inbox\non_trigger = handler:handle\n"
    )
    connected = run(tmp_path, FLOWSTONE, "check", "--connect").stdout
    assert "connected" in connected
    run(tmp_path, FLOWSTONE, "run", "--once")
    made = json.loads(run(tmp_path, FLOWSTONE, "materializations", "list", "--json").stdout)
    assert [(each["asset"], each["state"], each["metadata"]) for each in made] == [
        ("inbox", "completed", {"path": "inbox/a.csv", "bytes": 1})
    ]


@pytest.mark.parametrize("arguments", [["7up"], ["tides", "--type", "Tides"]])
def test_a_name_that_is_none_writes_nothing(tmp_path: Path, arguments: list[str]) -> None:
    refused = run(tmp_path, FLOWSTONE, "new-plugin", *arguments, code=2)
    assert refused.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_the_template_is_in_the_wheel(tmp_path: Path) -> None:
    pip(tmp_path, "install", "--target", tmp_path / "site", ROOT)
    shipped = tmp_path / "site/flowstone_core/cli/scaffold/flowstone-acme"
    source = ROOT / "flowstone_core/cli/scaffold/flowstone-acme"

    def files(folder: Path) -> set[str]:
        return {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(shipped) == files(source)
