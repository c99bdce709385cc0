"""The contract of sensors: a sound sensor passes every check, a broken one fails its own."""

from __future__ import annotations

import doctest
import itertools
import socket
import sqlite3
import subprocess
import threading
import uuid
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr, field_validator

from flowstone_core import (
    Event,
    NotTriggered,
    PollFailed,
    RetryLater,
    Sensor,
    SensorBroken,
    SensorConfig,
    Triggered,
    encode_partition,
)
from flowstone_core.model.json_document import dump_document
from flowstone_core.model.tick import NewEvent
from flowstone_core.testing import SensorContract, contract
from flowstone_core.testing.contract.driver import identifies

TOKEN = "open, s3same!"
WAIT = timedelta(seconds=30)
CHECKS = [name for name in dir(SensorContract) if name.startswith("test_")]


class RowsConfig(SensorConfig):
    path: Path = Field(description="the file of SQLite")
    token: SecretStr = Field(description="what opens it")
    timeout: float = Field(0.01, gt=0, description="seconds to wait for a lock")


class Rows(Sensor[RowsConfig, object]):
    """Fires for each row: sound in every way, so that each heir is broken in one."""

    Config = RowsConfig
    connection = None

    def init(self):
        return {"at": "", "id": 0}

    def poll(self, state):
        rows = self.read(state)
        if not rows:
            return NotTriggered(state)
        return Triggered([self.event(*row) for row in rows], self.after(rows))

    def read(self, state):
        return self.query(
            "SELECT id, at, name FROM row WHERE (at, id) > (?, ?) ORDER BY at, id",
            state["at"],
            state["id"],
        )

    def event(self, number, at, name):
        return Event(name, payload={"id": number, "at": at})

    def after(self, rows):
        number, at, _ = rows[-1]
        return {"at": at, "id": number}

    def query(self, statement, *values):
        if self.connection is None:
            self.connection = self.open()
        return self.connection.execute(statement, values).fetchall()

    def open(self):
        return sqlite3.connect(
            self.config.path, timeout=self.config.timeout, check_same_thread=False
        )

    def cleanup(self):
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


class RowsContract(SensorContract):
    """The terms of all sensors here."""

    sensor_class: ClassVar[type] = Rows
    patience = 20.0
    invalid_settings = (({"timeout": 0}, "timeout"), ({"path": ...}, "path"))

    @pytest.fixture
    def source(self, tmp_path):
        with self.opened(tmp_path):
            yield

    @contextmanager
    def opened(self, folder):
        self.path = folder / "rows.db"
        self.outside = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.outside.execute("CREATE TABLE row (id INTEGER PRIMARY KEY AUTOINCREMENT, at, name)")
        self.outside.execute("INSERT INTO row VALUES (1, '2025-01-01', 'there before')")
        yield
        self.outside.close()

    def make_sensor(self, context):
        return self.sensor_class(self.sensor_class.Config(path=self.path, token=TOKEN), context)

    def change(self, number):
        name = f"row {number}"
        values = (self.clock.now().isoformat(), name)
        self.outside.execute("INSERT INTO row (at, name) VALUES (?, ?)", values)
        return name

    @contextmanager
    def break_source(self):
        self.outside.execute("ALTER TABLE row RENAME TO elsewhere")
        yield
        self.outside.execute("ALTER TABLE elsewhere RENAME TO row")

    @contextmanager
    def hang_source(self):
        self.outside.execute("BEGIN EXCLUSIVE")
        yield
        self.outside.execute("ROLLBACK")


class TestRows(RowsContract):
    """A sound sensor, under pytest itself."""


class Patient(Rows):
    """Fires for a row when it has known it for half a minute."""

    def poll(self, state):
        now = self.context.clock.now()
        rows = self.read(state)
        known = state.get("known", {})
        known = {name: known.get(name, now.isoformat()) for _, _, name in rows}
        young = [n for n, since in known.items() if (now - datetime.fromisoformat(since)) < WAIT]
        ripe = list(itertools.takewhile(lambda row: row[2] not in young, rows))
        if not ripe:
            return NotTriggered(state | {"known": known})
        return Triggered([self.event(*row) for row in ripe], self.after(ripe) | {"known": known})


class TestPatient(RowsContract):
    """A sound sensor that fires at the second poll, under pytest itself."""

    sensor_class = Patient
    polls_to_fire = 2


@pytest.fixture
def judge(tmp_path):
    """Have each check judge a sensor; returns what failed and what was skipped, by check."""

    def judge(sensor_class, **terms):
        failed, skipped = {}, {}
        terms = {"sensor_class": sensor_class, "patience": 20.0} | terms
        kind = type("Contract", (terms.pop("contract", RowsContract),), terms)
        for name in CHECKS:
            contract = kind()
            folder = tmp_path / name
            folder.mkdir()
            with contract.opened(folder):
                try:
                    getattr(contract, name)()
                except pytest.fail.Exception as failure:
                    failed[name] = str(failure)
                except pytest.skip.Exception as skip:
                    skipped[name] = str(skip)
                finally:
                    for bench in contract._benches:
                        bench.close()
        return failed, skipped

    return judge


def test_a_sound_sensor_passes_every_check(judge):
    assert judge(Rows) == ({}, {})


def test_the_example_runs():
    result = doctest.testmod(contract, report=True)
    assert result.attempted > 0
    assert result.failed == 0


# -- one fault each ------------------------------------------------------------------------------

BROKEN: dict[str, tuple[type[Rows], str, dict[str, object]]] = {}


def fails(check, said, **terms):
    """Note which check must find a sensor's fault, and what it must say."""

    def note(sensor_class):
        assert check in CHECKS
        BROKEN[sensor_class.__name__] = (sensor_class, check, {"said": said, **terms})
        return sensor_class

    return note


@fails("test_its_state_is_json", "it is a set")
class KeepsASet(Rows):
    def init(self):
        return set()

    def poll(self, state):
        rows = self.query("SELECT id, at, name FROM row")
        new = [row for row in rows if row[2] not in state]
        return Triggered([self.event(*row) for row in new], state | {name for _, _, name in new})


@fails("test_its_state_is_json", "it is a datetime")
class KeepsADatetime(Rows):
    def after(self, rows):
        return super().after(rows) | {"seen": datetime.fromisoformat(rows[-1][1])}


@fails("test_a_change_fires", "'row 1' was not found")
class FindsNothing(Rows):
    def read(self, state):
        return []


@fails("test_a_change_fires", "it must return Triggered, NotTriggered or PollFailed")
class ReturnsAList(Rows):
    def poll(self, state):
        return super().poll(state).events


@fails("test_a_change_fires", "asks for another moment")
class NeverReady(Rows):
    def poll(self, state):
        raise RetryLater(1, "asks for another moment")


@fails("test_a_change_fires", "is for asset 'elsewhere', which no pipeline has")
class NamesAnUnknownAsset(Rows):
    def event(self, *row):
        return Event(row[2], asset="elsewhere")


@fails("test_a_change_fires", "200 polls on end found something")
class FiresWithoutEnd(Rows):
    def after(self, rows):
        return self.init()


@fails("test_nothing_fires_twice", "polled again 1 day, 0:00:00 later")
class ForgetsAfterADay(Rows):
    def poll(self, state):
        today = self.context.clock.now().date().isoformat()
        if state.get("today", today) != today:
            state = self.init()
        outcome = super().poll(state)
        after = outcome.state | {"today": today}
        if isinstance(outcome, Triggered):
            return Triggered(outcome.events, after)
        return NotTriggered(after)


@fails("test_a_quiet_poll_leaves_the_state_alone", "at each poll it returned the state")
class NotesTheTime(Rows):
    def poll(self, state):
        outcome = super().poll(state)
        after = outcome.state | {"polled": self.context.clock.now().isoformat()}
        if isinstance(outcome, Triggered):
            return Triggered(outcome.events, after)
        return NotTriggered(after)


@fails("test_a_quiet_poll_leaves_the_state_alone", "it found again what it had found before")
class TrustsItsKeys(Rows):
    """That none fires twice is left to the keys."""

    def read(self, state):
        return super().read(self.init())

    def event(self, number, at, name):
        return Event(name, key=str(number))


@fails("test_it_goes_on_after_a_restart", "a fresh instance, given the stored state, found again")
class RemembersOnTheInstance(Rows):
    last = 0

    def init(self):
        return None

    def poll(self, state):
        rows = self.query("SELECT id, at, name FROM row WHERE id > ? ORDER BY id", self.last)
        self.last = max([self.last, *(number for number, _, _ in rows)])
        return Triggered([self.event(*row) for row in rows], None) if rows else NotTriggered(None)


@fails("test_it_goes_on_after_a_restart", "changed while no instance was there")
class BeginsWhereItIs(Rows):
    """Each instance takes what there is at its first poll for known."""

    first = True

    def poll(self, state):
        first, self.first = self.first, False
        if not first or state == self.init():
            return super().poll(state)
        rows = self.read(state)
        return NotTriggered(self.after(rows) if rows else state)


@fails("test_it_goes_on_after_a_restart", "AttributeError")
class NeedsInit(Rows):
    def init(self):
        self.events_of = self.event
        return super().init()

    def event(self, *row):
        self.events_of  # noqa: B018 - to look at it is the fault
        return super().event(*row)


@fails("test_nothing_is_lost_when_a_commit_fails", "the same instance found nothing")
class RemembersOnTheInstanceToo(Rows):
    last: ClassVar[dict[str, object]] = {"at": "", "id": 0}

    def poll(self, state):
        later = max(state, self.last, key=lambda each: (each["at"], each["id"]))
        outcome = super().poll(later)
        self.last = outcome.state
        return outcome


@fails("test_nothing_is_lost_when_a_commit_fails", "a fresh one found nothing")
class TakesFromTheSource(Rows):
    """Deletes what it reads, and only itself knows what that was."""

    def __init__(self, config, context=None):
        super().__init__(config, context)
        self.taken = []

    def read(self, state):
        self.taken += self.query("SELECT id, at, name FROM row ORDER BY at, id")
        self.query("DELETE FROM row")
        self.connection.commit()
        return [row for row in self.taken if row[0] > state["id"]]

    def connect(self):
        self.query("SELECT 1 FROM row")


@fails("test_a_replay_gives_the_same_keys", "the same instance found")
class KeysByChance(Rows):
    def event(self, number, at, name):
        return Event(name, key=str(uuid.uuid4()))


@fails("test_a_replay_gives_the_same_keys", "the same instance found")
class PutsTheTimeIntoThePayload(Rows):
    def event(self, number, at, name):
        return Event(name, payload={"found_at": self.context.clock.now().isoformat()})


@fails("test_the_state_it_is_given_is_not_changed", "and made of it")
class ChangesTheState(Rows):
    def poll(self, state):
        rows = self.read(state)
        if not rows:
            return NotTriggered(state)
        state.update(self.after(rows))
        return Triggered([self.event(*row) for row in rows], state)


@fails("test_the_state_it_is_given_is_not_changed", "'names': {")
class NotesInTheState(Rows):
    """What it notes is not even JSON, and is gone from what it returns."""

    def poll(self, state):
        outcome = super().poll(dict(state))
        state["names"] = {"any"}
        return outcome


@fails("test_each_call_may_come_in_another_thread", "asked to clean up in a thread of its own")
class CleansUpAtHome(Rows):
    home = None

    def init(self):
        self.home = threading.get_ident()
        return super().init()

    def poll(self, state):
        self.home = threading.get_ident()
        return super().poll(state)

    def cleanup(self):
        super().cleanup()
        if self.home not in (None, threading.get_ident()):
            raise RuntimeError("polled in another thread")


@fails("test_each_call_may_come_in_another_thread", "polled in a thread of its own")
class BoundToItsThread(Rows):
    """As a connection of sqlite3 is by itself; this one can still be closed by the test."""

    def __init__(self, config, context=None):
        super().__init__(config, context)
        self.home = threading.get_ident()

    def query(self, statement, *values):
        if threading.get_ident() != self.home:
            raise sqlite3.ProgrammingError("made in another thread")
        return super().query(statement, *values)


@fails("test_a_run_ends_in_materializations", "TypeError")
class TakesNoContext(Rows):
    def __init__(self, config, *, context=None):
        super().__init__(config, context)


class WithoutContext(RowsContract):
    def make_sensor(self, context):
        config = self.sensor_class.Config(path=self.path, token=TOKEN)
        return self.sensor_class(config, context=context)


BROKEN["TakesNoContext"][2]["contract"] = WithoutContext


@fails("test_events_beyond_the_limit_follow", "7 of them never fired")
class DropsWhatIsTooMuch(Rows):
    def poll(self, state):
        outcome = super().poll(state)
        if isinstance(outcome, NotTriggered):
            return outcome
        return Triggered(outcome.events[:5], outcome.state)


@fails("test_changes_of_one_instant_are_all_found", "'row 2'")
class PassesTies(Rows):
    """SELECT ... WHERE at > the last one."""

    def read(self, state):
        return self.query("SELECT id, at, name FROM row WHERE at > ? ORDER BY at, id", state["at"])


@fails("test_an_outside_error_leaves_the_state_alone", "as if all were well")
class SwallowsErrors(Rows):
    def poll(self, state):
        try:
            return super().poll(state)
        except sqlite3.Error:
            return NotTriggered(state)

    def connect(self):
        super().poll(self.init())


@fails("test_an_outside_error_leaves_the_state_alone", "until somebody resets it")
class GivesUp(Rows):
    def read(self, state):
        try:
            return super().read(state)
        except sqlite3.Error:
            raise SensorBroken("there is no such table") from None


@fails("test_an_outside_error_leaves_the_state_alone", "The state it returned was")
class GoesOnBeforeItHasRead(Rows):
    def poll(self, state):
        now = self.context.clock.now().isoformat()
        try:
            return super().poll(state)
        except sqlite3.Error as error:
            return PollFailed(error, {"at": now, "id": 0})


@fails("test_an_outside_error_leaves_the_state_alone", "the same instance still fails")
class StaysBroken(Rows):
    error = None

    def query(self, statement, *values):
        if self.error is not None:
            raise self.error
        try:
            return super().query(statement, *values)
        except sqlite3.Error as error:
            self.error = error
            raise


@fails("test_an_outside_error_leaves_the_state_alone", "was not found any more")
class LosesWhatFailed(Rows):
    """What comes while the source fails is taken for known afterwards."""

    failed = False

    def poll(self, state):
        try:
            rows = self.read(state)
        except sqlite3.Error:
            self.failed = True
            raise
        if self.failed and rows:
            self.failed = False
            return NotTriggered(self.after(rows))
        return super().poll(state)


@fails("test_a_source_that_never_answers_is_given_up", "poll had not come back", patience=1.0)
class WaitsForEver(Rows):
    def open(self):
        return sqlite3.connect(self.config.path, timeout=3600, check_same_thread=False)


@fails("test_a_source_that_never_answers_is_given_up", "as if all were well")
class TakesSilenceForNothing(Rows):
    def poll(self, state):
        try:
            return super().poll(state)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                return NotTriggered(state)
            raise


@fails("test_connect_proves_and_changes_nothing", "no poll found it any more")
class ConnectsByTaking(Rows):
    def connect(self):
        self.query("DELETE FROM row")
        self.connection.commit()


@fails("test_connect_proves_and_changes_nothing", "connect raised NotImplementedError")
class CannotConnect(Rows):
    def connect(self):
        raise NotImplementedError


@fails("test_connect_fails_where_the_source_does", "connect raised nothing")
class ConnectsToAnything(Rows):
    def connect(self):
        self.query("SELECT 1")


class LaxConfig(RowsConfig, extra="ignore"):
    """It takes whatever comes."""


@fails("test_an_unknown_setting_is_refused", "'pathh', which there is not, was accepted")
class TakesAnySetting(Rows):
    Config = LaxConfig


class BareConfig(RowsConfig):
    table: str = "row"


@fails("test_every_setting_is_described", "there is no description of table")
class DescribesNothing(Rows):
    Config = BareConfig


class BoldConfig(RowsConfig):
    timeout: float = Field(0.01, description="seconds to wait for a lock")


@fails("test_wrong_settings_are_refused_by_name", "It was accepted")
class TakesWrongSettings(Rows):
    Config = BoldConfig


class VagueConfig(RowsConfig):
    timeout: float = Field(0.01, description="seconds to wait for a lock")

    def model_post_init(self, context):
        if self.timeout <= 0:
            raise ValueError("this will not do")


@fails("test_wrong_settings_are_refused_by_name", "It was refused, without it")
class DoesNotSayWhatIsWrong(Rows):
    Config = VagueConfig


class OpenConfig(RowsConfig):
    token: str = Field(description="what opens it", repr=True)


@fails("test_secrets_are_never_shown", "repr() of its config shows")
class ShowsItsSettings(Rows):
    Config = OpenConfig


@fails("test_secrets_are_never_shown", "an error shows")
class TellsInAnError(Rows):
    def query(self, statement, *values):
        try:
            return super().query(statement, *values)
        except sqlite3.Error as error:
            token = self.config.token.get_secret_value()
            raise ConnectionError(f"rows://any:{token}@host: {error}") from None


@fails("test_secrets_are_never_shown", "an error, ValueError, shows")
class TellsInACause(Rows):
    def query(self, statement, *values):
        try:
            return super().query(statement, *values)
        except sqlite3.Error as error:
            cause = ValueError(f"token=open%2C%20s3same%21: {error}")
            raise ConnectionError("it failed") from cause


@fails("test_secrets_are_never_shown", "a log line shows")
class TellsInALogLine(Rows):
    def query(self, statement, *values):
        self.context.logger.debug("asked by %s", self.config.token.get_secret_value())
        return super().query(statement, *values)


@fails("test_secrets_are_never_shown", "the state shows")
class TellsInItsState(Rows):
    def init(self):
        return super().init() | {"token": self.config.token.get_secret_value()}

    def after(self, rows):
        return self.init() | super().after(rows)


@fails("test_secrets_are_never_shown", "an event's payload shows")
class TellsInAPayload(Rows):
    def event(self, number, at, name):
        return Event(name, payload={"by": self.config.token.get_secret_value()})


class NamedOpenlyConfig(RowsConfig):
    token: SecretStr | None = Field(None, description="what opens it")
    word: str = Field("Swordfish", description="what opens it too")


@fails("test_secrets_are_never_shown", "the secret Sw... is in no setting", secrets=["Swordfish"])
class HasASecretThatNobodyKnows(Rows):
    Config = NamedOpenlyConfig


@fails("test_cleanup_may_come_at_any_time", "cleanup, called before init and poll, raised")
class CannotCleanUpUnused(Rows):
    def cleanup(self):
        if self.connection is None:
            raise AttributeError("there is no connection")
        self.connection.close()


@fails("test_cleanup_may_come_at_any_time", "cleanup, called a second time, raised")
class CannotCleanUpTwice(Rows):
    clean = False

    def cleanup(self):
        super().cleanup()
        if self.clean:
            raise RuntimeError("it is closed already")
        self.clean = True


@fails("test_cleanup_may_come_at_any_time", "after a poll that failed, while the source still did")
class CannotCleanUpAfterAFailure(Rows):
    def cleanup(self):
        if self.connection is not None:
            try:
                self.connection.execute("SELECT 1 FROM row")
            finally:
                super().cleanup()


LEFT: list[Rows] = []
"""Instances that left something behind, which their test must put away."""


@fails("test_nothing_is_left_behind", "rows.db", patience=0.2)
class NeverCloses(Rows):
    def open(self):
        LEFT.append(self)
        return super().open()

    def cleanup(self):
        """Do nothing."""

    def put_away(self):
        self.connection.close()


@fails("test_nothing_is_left_behind", "the thread 'watcher'", patience=0.2)
class LeavesAThread(Rows):
    watched = None

    def open(self):
        if self.watched is None:
            self.watched = threading.Event()
            self.watcher = threading.Thread(target=self.watched.wait, name="watcher", daemon=True)
            self.watcher.start()
            LEFT.append(self)
        return super().open()

    def put_away(self):
        self.watched.set()
        self.watcher.join()


@fails("test_nothing_is_left_behind", "the open socket 127.0.0.1:", patience=0.2)
class LeavesASocket(Rows):
    """Its twin listens: it is at home nowhere."""

    def open(self):
        self.port = socket.create_server(("127.0.0.1", 0))
        self.line = socket.create_connection(self.port.getsockname())
        LEFT.append(self)
        return super().open()

    def put_away(self):
        self.line.close()
        self.port.close()


@fails("test_nothing_is_left_behind", "the child process", patience=0.2)
class LeavesAChild(Rows):
    child = None

    def open(self):
        if self.child is None:
            self.child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
            LEFT.append(self)
        return super().open()

    def put_away(self):
        self.child.kill()
        self.child.wait()


@fails("test_it_asks_its_context_for_the_time", "now() at")
class AsksTheMachine(Rows):
    def after(self, rows):
        datetime.now()  # noqa: DTZ005, TID251 - the fault
        return super().after(rows)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_sensor_fails_the_check_that_finds_its_fault(judge, name, request):
    sensor_class, check, terms = BROKEN[name]
    terms = dict(terms)
    said = terms.pop("said")
    request.addfinalizer(put_away)
    failed, skipped = judge(sensor_class, **terms)
    assert list(failed) == [check], failed
    assert said in " ".join(failed[check].split()), failed[check]
    for part in ("seen: ", "\nwhy it matters: ", "\nwhat to do: "):
        assert part in failed[check]
    assert TOKEN not in failed[check]
    assert all(f"because {check} does" in reason for reason in skipped.values()), skipped


# -- what an author says, and does not say ---------------------------------------------------------


class KeylessConfig(SensorConfig):
    path: Path = Field(description="the file of SQLite")
    timeout: float = Field(0.01, description="seconds to wait for a lock")


class Keyless(Rows):
    """It has no secrets."""

    Config = KeylessConfig


class Reticent(RowsContract):
    """It says no more than it must."""

    sensor_class = Keyless
    break_source = SensorContract.break_source
    hang_source = SensorContract.hang_source
    invalid_settings = SensorContract.invalid_settings

    def make_sensor(self, context):
        return Keyless(KeylessConfig(path=self.path), context)


def test_what_is_not_given_is_skipped_with_what_to_do(judge):
    failed, skipped = judge(Keyless, contract=Reticent)
    assert failed == {}
    assert {name: reason.partition(",")[0] for name, reason in skipped.items()} == {
        "test_an_outside_error_leaves_the_state_alone": "not checked: define break_source",
        "test_connect_fails_where_the_source_does": "not checked: define break_source",
        "test_a_source_that_never_answers_is_given_up": "not checked: define hang_source",
        "test_wrong_settings_are_refused_by_name": "not checked: define invalid_settings",
        "test_secrets_are_never_shown": "not checked: define secrets",
    }


def test_what_does_not_apply_is_skipped_with_the_reason(judge):
    terms = ("break_source", "hang_source", "invalid_settings", "test_a_change_fires")
    failed, skipped = judge(
        Keyless, contract=Reticent, secrets=(), not_applicable=dict.fromkeys(terms, "it is small")
    )
    assert failed == {}
    assert skipped.pop("test_secrets_are_never_shown") == "does not apply: secrets is empty"
    assert set(skipped.values()) == {"does not apply: it is small"}
    assert len(skipped) == 5


def test_a_check_that_does_not_apply_excuses_no_other(judge):
    failed, _ = judge(
        KeepsASet, not_applicable={"test_its_state_is_json": "it is a set, and nobody minds"}
    )
    assert "test_a_change_fires" in failed


class OneForAll(RowsContract):
    made = None

    def make_sensor(self, context):
        self.made = self.made or super().make_sensor(context)
        return self.made


def test_a_check_that_cannot_be_made_excuses_no_other(judge):
    failed, skipped = judge(TakesSilenceForNothing, break_source=SensorContract.break_source)
    assert list(failed) == ["test_a_source_that_never_answers_is_given_up"]
    assert len(skipped) == 2
    assert all("define break_source" in reason for reason in skipped.values())


def test_who_fires_late_must_say_so(judge):
    failed, _ = judge(Patient)
    assert "'row 1' was not found after it was made" in failed["test_a_change_fires"]


def test_an_instance_that_is_made_only_once_is_noticed(judge):
    failed, _ = judge(Rows, contract=OneForAll)
    said = failed["test_it_goes_on_after_a_restart"]
    assert "make_sensor returned the instance that it had returned before" in said


class CutConfig(RowsConfig):
    path: Path = Field(description="the file of SQLite, without .db")

    @field_validator("path", mode="before")
    @classmethod
    def complete(cls, path):
        if str(path).endswith(".db"):
            raise ValueError("write it without .db")
        return Path(f"{path}.db")


class Cut(RowsContract):
    def make_sensor(self, context):
        path = str(self.path).removesuffix(".db")
        return self.sensor_class(CutConfig(path=path, token=TOKEN), context)


def test_settings_that_are_refused_when_they_are_given_again_are_told_of(judge):
    failed, _ = judge(type("CutRows", (Rows,), {"Config": CutConfig}), contract=Cut)
    said = " ".join(failed["test_a_run_ends_in_materializations"].split())
    assert "the settings that make_sensor uses are refused in a pipeline" in said
    assert "write it without .db" in said


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("row-1", True),
        ("row", True),
        ("row-10", False),
        ("ow-1", False),
        ("17", True),
        ("seven", True),
        (date(2025, 1, 15), True),
        (date(2025, 1, 16), False),
        ("2025-01-15", True),
        ("null", False),
        (("row-1",), False),
    ],
)
def test_an_event_is_known_by_its_partition_or_a_text_in_it(what, found):
    payload = dump_document({"rows": [17, {"seven": None}]}, what="it", limit=1000)
    event = NewEvent(encode_partition("table/row-1"), "any", "d:2025-01-15", payload)
    assert identifies(what, event) is found


def put_away():
    while LEFT:
        LEFT.pop().put_away()


def test_each_check_finds_a_fault():
    assert sorted({check for _, check, _ in BROKEN.values()}) == CHECKS
