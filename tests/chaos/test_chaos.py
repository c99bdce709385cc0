"""The chaos suite in short, and the ledger itself: what is lost or doubled is noticed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests import forked

CHAOS = Path(__file__).parent / "chaos.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CHAOS, *arguments]
    return forked.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_K1_K2_K3_K4_K5_K6_K7_K8_K9_kills_lose_and_double_nothing() -> None:
    ended = run("--kills", "36", "--stores", "2")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.match(r"seed \d+, 36 kills, 2 stores\n", ended.stdout), "it can be replayed"
    assert "36 processes killed" in ended.stdout
    assert "lost or doubled: 0\n" in ended.stdout


SPOILED = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import ledger
from flowstone_core import Flowstone
from flowstone_core.store import Store

url, book = sys.argv[1], Path(sys.argv[2])
with Flowstone(ledger.ledger_pipeline(book, 6), store=url) as flow:
    for _ in range(4):
        flow.run(once=True)
print("made")
"""
LOOK = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
import ledger
from flowstone_core.store import Store

store = Store.open(sys.argv[1])
print(*ledger.balance(store, Path(sys.argv[2]), 6).problems, sep="\\n")
"""


@pytest.fixture
def spoil(tmp_path: Path) -> object:
    """Make a ledger, spoil it by a statement, and return what the balance says."""
    url, book = f"sqlite:///{tmp_path / 'ledger.db'}", tmp_path / "book.txt"

    def python(source: str) -> str:
        program = source.format(folder=str(CHAOS.parent))
        command = [sys.executable, "-c", program, url, str(book)]
        ended = forked.run(command, capture_output=True, text=True, timeout=300, check=True)
        return ended.stdout

    python(SPOILED)

    def spoil(statement: str) -> str:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("PRAGMA foreign_keys = OFF"))
            connection.execute(text(statement))
        engine.dispose()
        return python(LOOK).strip()

    return spoil


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT 1", ""),
        ("DELETE FROM flowstone_events WHERE partition = 'n3'", "keyed n3: lost"),
        (
            """
            INSERT INTO flowstone_events
                (source, key, asset, partition, created_at, materialization_id)
            SELECT source, key || 'x', asset, partition, created_at, materialization_id
            FROM flowstone_events WHERE partition = 'n3' AND source LIKE 'sensor:%'
            """,
            "keyed n3: 2 events",
        ),
        (
            """
            UPDATE flowstone_materializations SET state = 'discarded', error = 'no'
            WHERE partition = 'n2'
            """,
            "keyed n2: discarded (no)",
        ),
    ],
)
def test_ledger_detects_lost_and_doubled_work(spoil: object, statement: str, said: str) -> None:
    assert callable(spoil)
    found = spoil(statement)
    assert found == said if not said else said in found
