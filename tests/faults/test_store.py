"""The store under a running runner: locked, full, read-only, deleted, replaced, damaged."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from flowstone_core import Flowstone
from flowstone_core.errors import StoreError, StoreLostError
from flowstone_core.store import Store, sql_engines, sqlite_file
from tests import forked

sys.path.insert(0, str(Path(__file__).parents[1] / "chaos"))

from ledger import balance, ledger_pipeline

from tests.processes import until

PATIENCE = 300
NUMBERS = 30


class Line:
    """A runner in a thread, on a file that a test does something to.

    It stands still half-way until it is let go on, so that the fault comes in between.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.book = folder / "flowstone.db", folder / "book.txt"
        self.url = f"sqlite:///{self.path}"
        self.gate = threading.Event()
        self.flow = Flowstone(ledger_pipeline(self.book, NUMBERS), store=self.url, grace="10s")
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.flow.run()
        except StoreError as error:
            self.error = error

    def start(self) -> None:
        self.thread.start()
        until(self.book.exists)

    def pragma(self, text: str) -> None:
        """Have each connection of the runner say a pragma first, from now on."""

        def say(connection: Any, *_: object) -> None:
            connection.execute(f"PRAGMA {text}").fetchall()

        event.listen(self.flow._open_store()._database._engine, "checkout", say)

    def problems(self) -> tuple[str, ...]:
        store = Store.open(self.url)
        try:
            return balance(store, self.book, NUMBERS).problems
        finally:
            store.close()

    def ended(self) -> bool:
        self.thread.join(PATIENCE)
        return not self.thread.is_alive()


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = Line(tmp_path)
    yield line
    line.flow.stop()
    if line.thread.ident is not None:
        line.thread.join(PATIENCE)
    line.flow.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was logged of the store."""
    caplog.set_level(logging.WARNING, "flowstone.store_outage")
    return lambda: [
        each.message for each in list(caplog.records) if each.name == "flowstone.store_outage"
    ]


DOWN = "store unavailable; polling paused until a write succeeds"
UP = "store available again; polling resumed"


def test_D1_locked_store_pauses_and_discarded_events_are_found_again(
    line: Line, said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_engines, "BUSY_TIMEOUT", 20)
    line.start()
    with closing(sqlite3.connect(line.path, isolation_level=None, timeout=PATIENCE)) as other:
        other.execute("BEGIN IMMEDIATE")
        until(said)
        until(lambda: line.flow.status().runners)  # it can be looked at all the while
        other.execute("ROLLBACK")
    until(lambda: not line.problems())
    until(lambda: UP in said())
    assert said()[0] == DOWN


def test_D2_runner_on_a_full_disk_pauses_and_resumes(
    line: Line, said: Callable[[], list[str]]
) -> None:
    pages = {"limit": 1_000_000}
    engine = line.flow._open_store()._database._engine
    event.listen(
        engine,
        "checkout",
        lambda connection, *_: connection.execute(
            f"PRAGMA max_page_count = {pages['limit']}"
        ).fetchall(),
    )
    line.start()
    pages["limit"] = 1
    before = line.flow.sensors.all()
    until(said)
    assert {each.name for each in line.flow.sensors.all()} == {each.name for each in before}
    pages["limit"] = 1_000_000
    until(lambda: not line.problems())
    until(lambda: UP in said())


def test_D3_store_made_read_only_stops_the_runner_with_a_hint(line: Line) -> None:
    line.start()
    line.pragma("query_only = ON")
    assert line.ended()
    assert isinstance(line.error, StoreLostError)
    assert "readonly" in str(line.error)
    assert "make the file and its folder writable" in str(line.error)


def test_D4_deleted_store_stops_the_runner_and_is_not_recreated(line: Line) -> None:
    line.start()
    line.path.unlink()
    assert line.ended()
    assert isinstance(line.error, StoreLostError)
    assert "was deleted or moved away while in use" in str(line.error)
    assert not line.path.exists()


def test_D4_replaced_store_stops_the_runner_and_is_not_written(line: Line, tmp_path: Path) -> None:
    line.start()
    other = tmp_path / "other" / "other.db"
    other.parent.mkdir()
    Store.open(f"sqlite:///{other}").close()
    content = other.read_bytes()
    shutil.move(other, line.path)
    assert line.ended()
    assert isinstance(line.error, StoreLostError)
    assert "was replaced by another file" in str(line.error)
    assert line.path.read_bytes() == content


def test_D4_store_moved_away_and_back_is_the_same_file(line: Line, tmp_path: Path) -> None:
    store = Store.open(line.url)
    away = tmp_path / "away.db"
    line.path.rename(away)
    with pytest.raises(StoreLostError, match=r"flowstone\.db was deleted or moved away"):
        store.runners.all()
    away.rename(line.path)
    assert store.runners.all() == []
    store.close()


def test_D5_store_damaged_while_open_stops_the_runner_with_a_hint(
    line: Line,
) -> None:
    store = Store.open(line.url)
    found: list[StoreLostError] = []
    store.when_lost(found.append)
    identity = line.path.stat().st_ino
    line.path.write_bytes(b"no database at all" * 1_000)
    assert line.path.stat().st_ino == identity
    store._database._engine.dispose()  # what is in memory would do for a while
    with pytest.raises(StoreLostError, match="keep the file, and restore a backup") as caught:
        store.runners.all()
    assert found == [caught.value]
    with suppress(StoreError):
        store.close()
    assert line.path.read_bytes().startswith(b"no database at all")


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:41 / /mnt/team rw,relatime shared:7 - nfs4 server:/team rw
31 30 8:2 / /mnt/team/local rw - xfs /dev/sdb1 rw
32 22 0:42 / /mnt/my\\040share rw - cifs //server/share rw
33 22 0:43 / /mnt/twice rw - nfs server:/twice rw
34 33 8:3 / /mnt/twice rw - ext4 /dev/sdc1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/flowstone.db", None),
        ("/mnt/team/flowstone.db", "nfs4"),
        ("/mnt/team/deep/er/flowstone.db", "nfs4"),
        ("/mnt/teams/flowstone.db", None),
        ("/mnt/team/local/flowstone.db", None),
        ("/mnt/my share/flowstone.db", "cifs"),
        ("/mnt/twice/flowstone.db", None),
    ],
)
def test_D7_network_file_system_is_recognized_by_its_mount(
    tmp_path: Path, path: str, kind: str | None
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert sqlite_file.remote_kind(Path(path), mounts) == kind


def test_D7_missing_list_of_mounts_gives_no_warning(tmp_path: Path) -> None:
    assert sqlite_file.remote_kind(tmp_path / "flowstone.db", tmp_path / "missing") is None


def test_D7_store_on_a_network_file_system_gives_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Store.open(f"sqlite:///{tmp_path / 'local.db'}").close()
    assert caplog.messages == []
    monkeypatch.setattr(sqlite_file, "remote_kind", lambda path: "nfs4")
    Store.open(f"sqlite:///{tmp_path / 'far.db'}").close()
    (said,) = caplog.messages
    assert "on a network file system" in said


RUNNER = """
import resource, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ledger import ledger_pipeline
from flowstone_core import Flowstone

store, book, deed = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
flow = Flowstone(ledger_pipeline(book, 100_000), store=f"sqlite:///{store}")

def spoil():
    while not book.exists():
        threading.Event().wait(0.01)
    if deed == "disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    else:
        store.unlink()

threading.Thread(target=spoil, daemon=True).start()
try:
    flow.run()
except Exception as error:
    print(type(error).__name__, error)
    sys.exit(1)
"""


@pytest.mark.parametrize(
    ("deed", "message"),
    [("disk", r"disk I/O error"), ("unlink", r"was deleted or moved away")],
    ids=["D3_a_disk_that_fails", "D4_a_deleted_file"],
)
def test_D3_D4_process_ends_with_an_error_and_a_hint(
    tmp_path: Path, deed: str, message: str
) -> None:
    """With nobody to stop it: a write past a file's size limit is an error of the disk."""
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    chaos = Path(__file__).parents[1] / "chaos"
    store, book = tmp_path / "flowstone.db", tmp_path / "book.txt"
    ended = forked.run(
        [sys.executable, script, chaos, store, book, deed],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.startswith("StoreLostError the store sqlite:///"), ended.stderr
    assert message in ended.stdout
