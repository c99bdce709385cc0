"""The demo of ``make demo``, run as the Makefile runs it, in a copy."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from flowstone_core import Flowstone, decode_partition
from tests import forked

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return Path(
        shutil.copytree(
            SHOP, tmp_path / "shop", ignore=shutil.ignore_patterns(".run", "__pycache__")
        )
    )


def run(shop: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run(
        [sys.executable, *arguments],
        cwd=shop,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_N22_demo_shows_how_a_late_file_changes_a_report(shop: Path) -> None:
    left_by_another_run = shop / ".run" / "flowstone.db"
    left_by_another_run.parent.mkdir()
    left_by_another_run.write_text("no database")

    ended = run(shop, "demo.py")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    with Flowstone(store=f"sqlite:///{shop / '.run' / 'flowstone.db'}") as flow:
        made = flow.materializations.latest(limit=100)
        boards = flow.events(source="schedule:sales_board", limit=100)
    assert {each.state for each in made} == {"completed"}
    # The schedule fired on even seconds, for partitions that say so, and the last has all orders.
    assert boards
    assert {decode_partition(each.partition).second % 2 for each in boards} == {0}
    assert len({each.key for each in boards}) == len(boards)
    newest = next(each for each in made if each.asset == "sales_board")
    assert newest.metadata is not None
    assert (newest.metadata["days"], newest.metadata["orders"]) == (3, 63 + 43 + 68)
    others = {(each.asset, str(decode_partition(each.partition))) for each in made}
    assert ("stock", "2025-01-13") in others
    returned = {
        str(decode_partition(each.partition)): each.metadata
        for each in reversed(made)
        if each.asset == "returned_goods"
    }
    assert returned == {
        "2025-01-13": {"returned": 2},
        "2025-01-14": {"returned": 2},
        "2025-01-15": {"returned": 1},
    }
    made = [each for each in made if each.asset in {"raw_orders", "daily_report"}]
    runs = Counter((each.asset, str(decode_partition(each.partition))) for each in made)
    assert set(runs) == {
        (asset, day)
        for asset in ("raw_orders", "daily_report")
        for day in ("2025-01-13", "2025-01-14", "2025-01-15")
    }
    # The late file came when its day was reported already.
    assert runs["daily_report", "2025-01-14"] >= 2
    # 40 orders of one till and 25 of another, and so on; the last of each file is cancelled.
    assert reports(shop) == {
        "2025-01-13": {"orders": 63, "revenue": "1031.50", "best_seller": "coffee"},
        "2025-01-14": {"orders": 43, "revenue": "740.50", "best_seller": "mug"},
        "2025-01-15": {"orders": 68, "revenue": "1014.50", "best_seller": "tea"},
    }
    table = ended.stdout.partition("flowstone materializations list")[2].partition("==>")[0]
    headings = table.splitlines()[1].split()
    assert headings[:6] == ["ID", "ASSET", "PARTITION", "STATE", "ATTEMPTS", "DURATION"]
    assert table.count(" completed ") == len([e for e in made if e.asset == "daily_report"])
    assert "event=materialization" in (shop / ".run" / "flowstone.log").read_text("utf-8")
    # A short story: the log is in its file.
    assert ended.stderr == ""
    lines = [line.strip() for line in ended.stdout.splitlines() if line.strip()]
    assert len(lines) <= 40
    before = lines.index("2025-01-14 before  29 orders, revenue  527.00, best seller: mug")
    assert lines[before + 1] == "2025-01-14 after   43 orders, revenue  740.50, best seller: mug"
    assert "event=" not in ended.stdout


@pytest.mark.parametrize("plugin", ["flowstone_db", "flowstone_http", "flowstone_s3"])
def test_demo_without_a_plugin_reports_the_missing_package(shop: Path, plugin: str) -> None:
    hidden = f"import runpy, sys; sys.modules[{plugin!r}] = None; runpy.run_path('demo.py')"
    ended = run(shop, "-c", hidden)
    assert ended.returncode == 1
    assert f"module {plugin}, which is not installed" in ended.stderr
    assert f"pip install -e plugins/{plugin.replace('_', '-')}" in ended.stderr


def reports(shop: Path) -> dict[str, object]:
    return {path.stem: json.loads(path.read_text()) for path in (shop / ".run/reports").iterdir()}
