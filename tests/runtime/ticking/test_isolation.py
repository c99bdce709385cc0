"""Sensors in processes of their own: killed, crashing, hanging for real, and nobody else harmed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from flowstone_core import Flowstone, Pipeline, Skipped, ValidationError
from flowstone_core.app.flowstone import Flowstone as App
from flowstone_core.model.tick import SensorCheckpoint, TickCommit, TickOutcome
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
from flowstone_core.runtime.ticking.ticker import AnyDecision
from tests import forked
from tests.processes import is_alive, until

PATIENCE = 300
SENSORS = '''
import ctypes
import logging
import os
import signal
import threading
from datetime import date
from pathlib import Path

from flowstone_core import (
    Event, NotTriggered, RetryLater, Sensor, SensorConfig, Skipped, Triggered
)


class Deed(SensorConfig):
    deed: str = "count"
    folder: Path = Path()


class Doer(Sensor[Deed, int]):
    """Does what it is told to, and leaves traces in its folder."""

    Config = Deed

    def init(self):
        return 0

    def poll(self, state):
        (self.config.folder / "pid").write_text(str(os.getpid()))
        return getattr(self, self.config.deed)(state)

    def cleanup(self):
        if self.config.deed == "linger":
            self.hang(0)
        (self.config.folder / "cleaned").write_text(str(os.getpid()))

    def count(self, state):
        return Triggered(Event(f"n{state}", key=f"key-{state}", payload={"n": state}), state + 1)

    linger = count

    def exits(self, state):
        os._exit(0)

    def segfaults(self, state):
        ctypes.string_at(0)

    def aborts(self, state):
        os.abort()

    def is_killed(self, state):
        os.kill(os.getpid(), signal.SIGKILL)

    def leaves(self, state):
        raise SystemExit(3)

    def interrupts(self, state):
        raise KeyboardInterrupt

    def rubbish(self, state):
        return (each for each in ())

    def own_error(self, state):
        class Unsendable(Exception):
            def __reduce__(self):
                raise TypeError("no")
        raise Unsendable("of its own")

    def later(self, state):
        raise RetryLater(90, "busy")

    def skips(self, state):
        left = self.context.seconds_left()
        return NotTriggered(state, [Skipped("of its own", 2, f"{0 < left <= 60}")], "quiet")

    def reads_on(self, state):
        while True:
            self.context.check_deadline()

    def hang(self, state):
        (self.config.folder / "hangs").touch()
        threading.Event().wait()

    def hold_the_gil(self, state):
        (self.config.folder / "hangs").touch()
        ctypes.PyDLL(None).pause()

    def ignores_signals(self, state):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        return NotTriggered(state)

    def logs(self, state):
        self.context.logger.warning("seen %d", state, extra={"rows": 3})
        try:
            raise OSError("underneath")
        except OSError:
            logging.getLogger("elsewhere").exception("it broke")
        logging.getLogger("elsewhere").warning("%s", Unreadable())
        return NotTriggered(state)


class Unreadable:
    def __str__(self):
        raise ValueError("no")


def handle(context):
    return None
'''


@pytest.fixture
def sensors(import_source: Callable[[str, str], ModuleType]) -> ModuleType:
    """The module above, where a process that is started can import it too."""
    return import_source("sensors", SENSORS)


@pytest.fixture
def make(sensors: ModuleType, tmp_path: Path) -> Iterator[Callable[..., SensorTicker]]:
    """Make the ticker of a sensor that is polled in a process; it is ended after the test."""
    made: list[SensorTicker] = []

    def make(deed: str, **options: object) -> SensorTicker:
        pipeline = Pipeline("shop")
        pipeline.sensor(
            "doer",
            sensors.Doer,
            on_trigger=sensors.handle,
            deed=deed,
            folder=tmp_path,
            isolation="process",
            **options,
        )
        made.append(App(pipeline, store="sqlite://").sensors._ticker("doer"))
        return made[-1]

    yield make
    for ticker in made:
        ticker.stop()
        ticker.cleanup()


def tick(ticker: SensorTicker) -> AnyDecision:
    number = ticker.begin()
    assert number is not None
    decision = ticker.tick(number)
    ticker.release(2)
    assert decision is not None
    return decision


def pid_in(folder: Path) -> int:
    return int((folder / "pid").read_text())


def test_poll_in_a_process_reuses_the_process(
    make: Callable[..., SensorTicker], tmp_path: Path
) -> None:
    ticker = make("count")
    first = tick(ticker)
    ticker.remember(first)
    pid = pid_in(tmp_path)
    assert pid != os.getpid()
    assert [event.key for event in first.commits[0].events] == ["key-0"]
    second = tick(ticker)
    assert [event.key for event in second.commits[0].events] == ["key-1"]
    assert pid_in(tmp_path) == pid
    ticker.cleanup()
    assert (tmp_path / "cleaned").read_text() == str(pid)
    assert not is_alive(pid)


def test_S2_poll_in_a_process_has_deadline_and_reports_skipped_items(
    make: Callable[..., SensorTicker],
) -> None:
    decision = tick(make("skips"))
    assert decision.reason == "quiet"
    (commit,) = decision.commits
    assert isinstance(commit, TickCommit)
    assert commit.skipped == (Skipped("of its own", 2, "True"),)


def test_S2_poll_checking_its_deadline_in_a_process_times_out(
    make: Callable[..., SensorTicker],
) -> None:
    decision = tick(make("reads_on", deadline="10ms"))
    assert decision.outcome is TickOutcome.TIMED_OUT
    assert "within its deadline of 0.01 s" in str(decision.error)


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("exits", "its process exited with code 0"),
        ("segfaults", "its process was killed by signal 11 (SIGSEGV)"),
        ("aborts", "its process was killed by signal 6 (SIGABRT)"),
        ("is_killed", "killed by signal 9 (SIGKILL): perhaps out of memory"),
    ],
)
def test_P10_crash_is_a_failed_tick_and_gives_a_new_process(
    make: Callable[..., SensorTicker], tmp_path: Path, deed: str, said: str
) -> None:
    ticker = make(deed)
    first = tick(ticker)
    pid = pid_in(tmp_path)
    assert first.outcome is TickOutcome.FAILED
    assert first.error is not None
    assert said in first.error
    assert first.commits[0].after == SensorCheckpoint(
        failures=1, not_before=first.commits[0].after.not_before
    )
    assert tick(ticker).outcome is TickOutcome.FAILED
    assert pid_in(tmp_path) != pid


@pytest.mark.parametrize(
    ("deed", "outcome", "said"),
    [
        ("leaves", TickOutcome.FAILED, "SystemExit: 3"),
        ("interrupts", TickOutcome.FAILED, "KeyboardInterrupt"),
        ("rubbish", TickOutcome.FAILED, "poll returned a value of type generator"),
        ("own_error", TickOutcome.FAILED, "Unsendable: of its own"),
        ("later", TickOutcome.RETRY_LATER, "busy"),
        ("ignores_signals", TickOutcome.NOT_TRIGGERED, None),
    ],
)
def test_P9_poll_failing_otherwise_keeps_its_process(
    make: Callable[..., SensorTicker], tmp_path: Path, deed: str, outcome: TickOutcome, said: str
) -> None:
    ticker = make(deed)
    decision = tick(ticker)
    assert decision.outcome is outcome
    assert decision.error == said or (said is not None and said in str(decision.error))
    assert is_alive(pid_in(tmp_path))


@pytest.mark.parametrize("deed", ["hang", "hold_the_gil"])
def test_P1_P3_poll_past_its_deadline_is_killed(
    make: Callable[..., SensorTicker], tmp_path: Path, deed: str, caplog: pytest.LogCaptureFixture
) -> None:
    ticker = make(deed, deadline="10s")
    number = ticker.begin()
    assert number is not None
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(ticker.tick(number)), daemon=True)
    thread.start()
    until((tmp_path / "hangs").exists)
    decision = ticker.expire(number)
    assert decision is not None
    assert decision.outcome is TickOutcome.TIMED_OUT
    assert "within its deadline of 10 s (its process was killed)" in str(decision.error)
    thread.join(PATIENCE)
    assert results == [None], "its thread has come back"
    assert not is_alive(pid_in(tmp_path))
    assert "late result" not in caplog.text
    ticker.release(2)
    assert ticker.begin() is not None


def test_process_ended_between_polls_is_replaced(
    make: Callable[..., SensorTicker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ticker = make("count")
    ticker.remember(tick(ticker))
    pid = pid_in(tmp_path)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))
    assert tick(ticker).outcome is TickOutcome.TRIGGERED
    assert pid_in(tmp_path) != pid
    assert "child process ended between two calls" in caplog.text


def test_log_records_of_a_process_reach_the_log(
    make: Callable[..., SensorTicker], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        tick(make("logs"))
    lines = [(record.name, record.levelname, record.message) for record in caplog.records]
    assert ("flowstone.sensor", "WARNING", "seen 0") in lines
    assert ("elsewhere", "ERROR", "it broke: OSError: underneath") in lines
    (record,) = [each for each in caplog.records if each.message == "seen 0"]
    assert vars(record)["sensor"] == "doer"
    assert vars(record)["rows"] == 3


def test_connection_check_runs_in_the_process(
    make: Callable[..., SensorTicker], tmp_path: Path
) -> None:
    assert make("count").connect() is None
    assert pid_in(tmp_path) != os.getpid()
    assert "signal 11" in str(make("segfaults").connect())


def test_hanging_cleanup_is_killed_at_the_stop(
    make: Callable[..., SensorTicker], tmp_path: Path
) -> None:
    ticker = make("linger")
    tick(ticker)
    thread = threading.Thread(target=ticker.cleanup, daemon=True)
    thread.start()
    until((tmp_path / "hangs").exists)
    ticker.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not is_alive(pid_in(tmp_path))


def test_sensor_that_cannot_be_pickled_is_refused() -> None:
    from flowstone_core.testing import ScriptedSensor

    class Local(ScriptedSensor):
        pass

    pipeline = Pipeline("shop")
    pipeline.sensor("fine", Local)
    Flowstone(pipeline, store="sqlite://")
    pipeline.sensor("feed", Local, isolation="process")
    with pytest.raises(ValidationError, match="cannot be pickled for a child process") as caught:
        Flowstone(pipeline, store="sqlite://")
    assert "must be found at the top level of a module" in str(caught.value)


# -- in a runner -----------------------------------------------------------------------------------


@pytest.fixture
def runner(sensors: ModuleType, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`flowstone run` with a sensor that hangs in a process, and one that is well."""
    (tmp_path / "setup.cfg").write_text("[flowstone]\npipelines = two_sensors:pipeline\n")
    (tmp_path / "two_sensors.py").write_text(
        f"""
from flowstone_core import Pipeline
from {sensors.__name__} import Doer, handle

pipeline = Pipeline("two")
for name, deed in (("hangs", "hang"), ("well", "count")):
    pipeline.sensor(
        name, Doer, on_trigger=handle, deed=deed, folder={str(tmp_path)!r},
        every="100ms", deadline="1s", backoff="100ms",
        isolation="process" if name == "hangs" else "thread",
    )
"""
    )
    command = [sys.executable, "-m", "flowstone_core", "run"]
    pipe = subprocess.PIPE
    process = forked.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    yield process
    process.kill()
    process.communicate()


def seen(tmp_path: Path, sensor: str) -> list[TickOutcome]:
    store = tmp_path / "flowstone.db"
    if not store.exists():
        return []
    with Flowstone(store=f"sqlite:///{store}") as flow:
        return [each.outcome for each in flow.ticks(source=f"sensor:{sensor}", limit=1000)]


def test_P1_other_sensors_continue_while_one_hangs_repeatedly(
    runner: subprocess.Popen[str], tmp_path: Path
) -> None:
    until(lambda: len(seen(tmp_path, "hangs")) >= 2)
    assert set(seen(tmp_path, "hangs")) == {TickOutcome.TIMED_OUT}
    assert len(seen(tmp_path, "well")) >= 5
    runner.terminate()
    _, said = runner.communicate(timeout=PATIENCE)
    assert runner.returncode == 0, said
    assert "its process was killed" in said


def test_K1_processes_of_a_killed_runner_end(runner: subprocess.Popen[str], tmp_path: Path) -> None:
    until((tmp_path / "hangs").exists)
    children = descendants(runner.pid)
    assert children
    runner.kill()
    until(lambda: not any(map(is_alive, children)))


def descendants(pid: int) -> set[int]:
    """Return the processes that come from one, however far down."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parents[int(entry.name)] = int(
                (entry / "stat").read_text().rpartition(")")[2].split()[1]
            )
    found: set[int] = set()
    wave = {pid}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave} - found
        found |= wave
    return found


def test_script_without_a_main_guard_is_an_error(sensors: ModuleType, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from datetime import timedelta
from flowstone_core import Flowstone, Pipeline
from {sensors.__name__} import Doer, handle

pipeline = Pipeline("shop")
pipeline.sensor("doer", Doer, on_trigger=handle, folder=".", isolation="process")
with Flowstone(pipeline, store="sqlite:///script.db") as flow:
    flow.run(once=True)
    print(flow.sensors.get("doer").last_error)
"""
    )
    ended = forked.run(
        [sys.executable, script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert "if __name__ == '__main__':" in ended.stderr
    assert "its process exited with code 1" in ended.stdout
