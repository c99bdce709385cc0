"""``flowstone db``."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing, suppress
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import select, update

from flowstone_core.store import schema
from flowstone_core.store.column_types import UtcDateTime
from flowstone_core.store.database import Database
from flowstone_core.store.migration import HEAD
from flowstone_core.store.store_url import parse_url
from tests.processes import until


def test_upgrade_creates_a_store_then_does_nothing(shop):
    first = shop.run("db", "upgrade").stdout
    assert first.startswith("the store was upgraded from nothing to revision ")
    revision = first.split()[-1]
    assert shop.run("db", "upgrade").stdout == f"the store is up to date: revision {revision}\n"


def test_postgresql_store_is_upgraded_by_command_only(shop, postgresql):
    with postgresql.database() as url:
        shop.write(settings=f"store = {url}\n")
        assert "flowstone db upgrade" in shop.run("status", code=1).stderr
        assert "from nothing" in shop.run("db", "upgrade").stdout
        assert shop.run("status").stdout.startswith("store: postgresql")


# -- prune -----------------------------------------------------------------------------------------


def age(shop, **duration):
    """Make all that is in the store older."""
    by = timedelta(**duration)

    def older(connection):
        for table in schema.metadata.sorted_tables:
            moments = [column for column in table.c if isinstance(column.type, UtcDateTime)]
            for column in moments:
                for moment in connection.scalars(select(column).distinct()).all():
                    if moment is not None:
                        values = {column.name: moment - by}
                        connection.execute(update(table).where(column == moment).values(values))

    with closing(Database(parse_url(f"sqlite:///{shop.folder / 'flowstone.db'}"))) as database:
        database.write(older)


PRUNE = ("--older-than", "30d", "--trust-clock")


def test_S8_prune_of_an_idle_store_asks_for_trust_in_the_clock(made):
    age(made, days=60)
    done = made.run("db", "prune", "--older-than", "30d")
    assert done.stdout == "deleted: nothing\n"
    assert "no runner ran for long, or the clock is wrong" in done.stderr
    assert "flowstone db prune --trust-clock" in done.stderr
    assert made.run("db", "prune", *PRUNE).stdout.startswith("deleted: 2 events")


def test_prune_reports_deleted_and_kept_rows(made):
    age(made, days=60)
    said = made.run("db", "prune", *PRUNE, "--dry-run").stdout
    assert said == (
        "would delete: 2 events, 1 runner\n"
        "kept: 4 completed materializations, the latest of their partitions; "
        "2 events whose keys are remembered (dedupe_for)\n"
    )
    assert made.run("db", "prune", *PRUNE).stdout == said.replace("would delete", "deleted")
    age(made, days=60)
    found = made.json("db", "prune", *PRUNE, "--dry-run")
    assert found == {
        "dry_run": True,
        "events": 2,
        "materializations": 0,
        "attempts": 0,
        "ticks": 1,
        "skips": 0,
        "backfills": 0,
        "runners": 0,
        "keys": 2,
        "kept_events": 0,
        "kept_materializations": 4,
    }
    assert made.run("db", "prune", *PRUNE).stdout == (
        "deleted: 2 events, 1 tick\n"
        "forgot: 2 keys of events older than dedupe_for\n"
        "kept: 4 completed materializations, the latest of their partitions\n"
    )
    assert made.json("events", "list") == []
    assert len(made.json("materializations", "list")) == 4


def test_prune_uses_the_retention_or_needs_an_age(made):
    said = made.run("db", "prune", code=2).stderr
    assert said.endswith("(use --older-than 90d, or set retention in [flowstone])\n")
    made.write(settings="retention = 30d\n")
    assert made.run("db", "prune").stdout == "deleted: nothing\n"
    age(made, days=60)
    assert made.json("db", "prune", "--trust-clock")["runners"] == 1


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ("soon", "'soon' is not a duration"),
        ("59m", "59m is out of bounds: use 1h to 36525d"),
        ("36526d", "36526d is out of bounds: use 1h to 36525d"),
    ],
)
def test_prune_refuses_an_invalid_age(made, wrong, problem):
    said = made.run("db", "prune", "--older-than", wrong, code=2).stderr
    assert said.startswith(f"error: {problem}")
    made.write(settings=f"retention = {wrong}\n")
    said = made.run("db", "prune", code=2).stderr
    assert said.startswith(f"error: setup.cfg:3: [flowstone] retention: {problem}")


def test_dependent_of_a_pruned_partition_is_materialized(made):
    age(made, days=400)
    made.run("db", "prune", "--older-than", "30d")
    made.run("materialize", "daily_report", "2025-01-13")
    made.run("run", "--once")
    found = made.json("materializations", "list")
    assert [row["asset"] for row in found].count("raw_orders") == 2
    assert len(found) == 5


# -- backup ----------------------------------------------------------------------------------------


def test_backup_can_replace_the_store(made):
    before = made.json("materializations", "list")
    said = made.run("db", "backup", "copy.db").stdout
    size = (made.folder / "copy.db").stat().st_size
    assert said == f"{made.folder / 'copy.db'}: {size:,} bytes, revision {HEAD}\n"
    for path in made.folder.glob("flowstone.db*"):
        path.unlink()
    (made.folder / "copy.db").rename(made.folder / "flowstone.db")
    assert made.json("materializations", "list") == before


def test_backup_overwrites_a_file_only_with_force(made):
    made.run("db", "backup", "copy.db")
    assert "(--force overwrites it)" in made.run("db", "backup", "copy.db", code=1).stderr
    found = made.json("db", "backup", "copy.db", "--force")
    assert found == {
        "path": str(made.folder / "copy.db"),
        "size": (made.folder / "copy.db").stat().st_size,
        "revision": HEAD,
    }


def test_backup_of_a_missing_store_creates_nothing(shop):
    assert "store not found" in shop.run("db", "backup", "copy.db", code=1).stderr
    assert not list(shop.folder.glob("*.db"))


# -- check -----------------------------------------------------------------------------------------


def test_check_after_a_run_finds_no_problem(made):
    assert made.run("db", "check").stdout == (
        "store:        sqlite:///flowstone.db\n"
        f"revision:     {HEAD}\n"
        "journal mode: wal\n"
        "no problems found\n"
    )
    assert made.json("db", "check") == {
        "store": "sqlite:///flowstone.db",
        "revision": HEAD,
        "journal_mode": "wal",
        "complete": True,
        "problems": [],
    }


def test_check_reports_problems_with_exit_code_1(made):
    with closing(sqlite3.connect(made.folder / "flowstone.db")) as connection:
        connection.execute("UPDATE flowstone_attempts SET finished_at = NULL")
        connection.commit()
    said = made.run("db", "check", code=1)
    assert "sound" not in said.stdout
    assert said.stderr.count("error: materialization ") == 4
    assert len(made.json("db", "check", code=1)["problems"]) == 4


def test_check_of_an_older_store_is_incomplete(made):
    with closing(sqlite3.connect(made.folder / "flowstone.db")) as connection:
        connection.execute("UPDATE flowstone_schema SET version_num = '0001'")
        connection.commit()
    said = made.run("db", "check")
    assert "unknown revision 0001" in said.stderr
    assert said.stdout.endswith("no problems found\n")


@pytest.mark.parametrize("command", [["check"], ["backup", "copy.db"]])
def test_D5_damaged_file_is_named_with_a_remedy(shop, command):
    (shop.folder / "flowstone.db").write_bytes(b"no database" * 100)
    said = shop.run("db", *command, code=1).stderr
    assert "file is not a database" in said
    assert "restore a backup" in said


def test_postgresql_store_is_checked_but_not_backed_up(shop, postgresql):
    with postgresql.database("migrated") as url:
        shop.write(settings=f"store = {url}\n")
        assert shop.run("db", "check").stdout.endswith("no problems found\n")
        assert shop.json("db", "check")["journal_mode"] is None
        assert "pg_dump" in shop.run("db", "backup", "copy.db", code=1).stderr
        assert shop.run("db", "prune", "--older-than", "1d").stdout == "deleted: nothing\n"


# -- copy ------------------------------------------------------------------------------------------


def test_copy_moves_a_store_to_postgresql_and_back(made, postgresql):
    before = made.json("materializations", "list")
    with postgresql.database("migrated") as url:
        copied = made.json("db", "copy", "sqlite:///flowstone.db", url, "--yes")
        assert copied["source"] == "sqlite:///flowstone.db"
        assert copied["target"].startswith("postgresql")
        assert copied["revision"] == HEAD
        assert copied["rows"]["materializations"] == len(before) == 4
        made.write(settings=f"store = {url}\n")
        assert made.json("materializations", "list") == before
        made.run("run", "--once")
        said = made.run("db", "copy", url, "sqlite:///back.db", "--yes").stdout
        assert "materializations: 4\n" in said
        assert said.endswith(f" to sqlite:///back.db; revision {HEAD}\n")
        made.write(settings="store = sqlite:///back.db\n")
        assert made.json("materializations", "list") == before
        assert made.run("db", "check").stdout.endswith("no problems found\n")


def test_copy_to_the_configured_store_asks_first(made, postgresql):
    with postgresql.database("migrated") as url:
        made.write(settings=f"store = {url.replace('postgres:@', 'postgres:secret-word@')}\n")
        asked = made.run("db", "copy", "sqlite:///flowstone.db", code=1)
        assert "copy the store sqlite:///flowstone.db to postgresql" in asked.stderr
        assert "secret-word" not in asked.stderr
        assert made.json("events", "list") == []
        made.run("db", "copy", "sqlite:///flowstone.db", "--yes")
        assert len(made.json("events", "list")) == 4


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["mysql://host/shop"], 2, "unsupported database 'mysql'"),
        (["sqlite:///missing.db"], 1, "store not found: sqlite:///missing.db"),
        (["sqlite:///flowstone.db"], 1, "to itself (name another target)"),
        (["sqlite:///flowstone.db", "sqlite:///no/folder.db"], 1, "mkdir -p"),
    ],
)
def test_copy_that_is_refused_says_why(made, words, code, message):
    assert message in made.run("db", "copy", *words, "--yes", code=code).stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["bogus"], 2, "Invalid value for 'FROM': invalid store URL 'bogus'"),
        (["sqlite:///flowstone.db", "bogus"], 2, "Invalid value for '[TO]': invalid store URL"),
        (["sqlite:///missing.db", "sqlite:///other.db"], 1, "store not found"),
        (["sqlite:///flowstone.db"], 1, "to itself (name another target)"),
    ],
)
def test_copy_that_cannot_be_is_refused_before_it_asks(made, words, code, message):
    said = made.run("db", "copy", *words, code=code).stderr
    assert message in said
    assert "?" not in said
    assert not (made.folder / "other.db").exists()


def test_copy_that_is_interrupted_leaves_nothing(made, postgresql):
    with postgresql.database("migrated") as url, psycopg.connect(url, autocommit=True) as other:
        # The copy of the events takes its time.
        other.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END'"
        )
        other.execute(
            "CREATE TRIGGER slow BEFORE INSERT ON flowstone_events "
            "FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        running = made.process("db", "copy", "sqlite:///flowstone.db", url, "--yes")
        sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        until(lambda: other.execute(sleeping).fetchone())
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=300)
        assert (running.returncode, said.strip()) == (1, "Aborted!")
        assert not other.execute(sleeping).fetchone()
        for table in schema.metadata.tables:
            assert other.execute(f"TABLE {table}").fetchall() == []


def test_copy_on_a_terminal_shows_its_progress(made):
    terminal, end = os.openpty()
    running = made.process(
        "db", "copy", "sqlite:///flowstone.db", "sqlite:///other.db", "--yes", stdout=end
    )
    os.close(end)
    said = b""
    with suppress(OSError):  # the end of a terminal
        while piece := os.read(terminal, 65_536):
            said += piece
    os.close(terminal)
    assert running.wait(300) == 0
    running.communicate()
    assert b" of " in said
    assert b"copied sqlite:///flowstone.db to sqlite:///other.db" in said
