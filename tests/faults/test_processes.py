"""Asset functions in processes of their own: killed, crashing, and nobody else harmed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest

from flowstone_core import Flowstone, Pipeline, ValidationError
from flowstone_core.errors import ConflictError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.engine import EngineSetup
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.engine.asset_host import AssetHost, ChildPool
from flowstone_core.runtime.engine.execution import Execution
from flowstone_core.runtime.engine.result_writer import ResultWriter
from flowstone_core.runtime.isolation.child_process import ChildProcess
from tests.processes import is_alive, until

PATIENCE = 300
ASSETS = '''
import os
import signal
import threading
from pathlib import Path

from flowstone_core import Discard

FOLDER = Path(__file__).parent


def tells(context):
    """Says what it was told."""
    (FOLDER / "pid").write_text(str(os.getpid()))
    context.logger.warning("made", extra={"rows": 1})
    return {
        "partition": str(context.partition),
        "payloads": [dict(payload) for payload in context.payloads],
        "upstream": sorted(context.upstream),
        "run_id": context.run_id,
    }


def hangs(context):
    with (FOLDER / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\\n")
    threading.Event().wait()


def crashes(context):
    with (FOLDER / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\\n")
    os.kill(os.getpid(), signal.SIGKILL)


def discards(context):
    raise Discard("not wanted")


def raises(context):
    raise KeyError("of its own")
'''


@pytest.fixture
def assets(import_source: Callable[[str, str], ModuleType]) -> ModuleType:
    """The module above, where a process that is started can import it too."""
    return import_source("assets", ASSETS)


OPENED: list[Flowstone] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while OPENED:
        OPENED.pop().close()


class House:
    """A pipeline of one asset, and a run of it in the background."""

    def __init__(self, folder: Path, function: Callable[..., object], **options: object) -> None:
        self.pipeline = Pipeline("house")
        settings = {"run_in": "process", "backoff": "1ms", "max_attempts": 2} | options
        self.pipeline.asset(name="made", **settings)(function)
        self.flow = Flowstone(self.pipeline, store=f"sqlite:///{folder / 'house.db'}")
        self.starts = folder / "starts"
        OPENED.append(self.flow)
        self.number = self.flow.materialize("made", "eu", payload={"n": 1}).id

    def run(self) -> None:
        self.flow.run(once=True)

    @property
    def pids(self) -> list[int]:
        return (
            [int(line) for line in self.starts.read_text().split()] if self.starts.exists() else []
        )

    @property
    def state(self) -> MaterializationState:
        return self.flow.materializations.get(self.number).state

    def errors(self) -> list[str | None]:
        return [each.error for each in self.flow.materializations.attempts(self.number)]


def test_asset_function_in_a_process_gets_its_context(
    assets: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path, assets.tells)
    house.run()
    made = house.flow.materializations.get(house.number)
    assert made.metadata == {
        "partition": "eu",
        "payloads": [{"n": 1}],
        "upstream": [],
        "run_id": made.run_id,
    }
    assert int((tmp_path / "pid").read_text()) != os.getpid()
    (record,) = [each for each in caplog.records if each.message == "made"]
    assert (vars(record)["asset"], vars(record)["rows"]) == ("made", 1)


@pytest.mark.parametrize(("deed", "state"), [("discards", "discarded"), ("raises", "discarded")])
def test_error_in_a_process_has_the_outcome_of_one_in_a_thread(
    assets: ModuleType, tmp_path: Path, deed: str, state: str
) -> None:
    house = House(tmp_path, getattr(assets, deed), max_attempts=1)
    house.run()
    assert house.state == state
    assert house.errors() == [{"discards": "not wanted", "raises": "KeyError: 'of its own'"}[deed]]


def test_K14_K15_attempts_killing_their_process_end_as_discarded(
    assets: ModuleType, tmp_path: Path
) -> None:
    house = House(tmp_path, assets.crashes)
    wait_until(house, lambda: house.state is MaterializationState.DISCARDED)
    assert len(set(house.pids)) == 2
    assert len(house.pids) == 2
    assert set(house.errors()) == {
        "its process was killed by signal 9 (SIGKILL): perhaps out of memory"
    }


def test_attempt_past_its_timeout_is_killed(assets: ModuleType, tmp_path: Path) -> None:
    house = House(tmp_path, assets.hangs, timeout="500ms", max_attempts=1)
    wait_until(house, lambda: house.state is MaterializationState.DISCARDED)
    (error,) = house.errors()
    assert error == ("the attempt did not end within its timeout of 0.5 s (its process was killed)")
    assert not any(map(is_alive, house.pids))


def test_cancelled_attempt_is_killed(assets: ModuleType, tmp_path: Path) -> None:
    house = House(tmp_path, assets.hangs)
    thread = threading.Thread(target=house.run, daemon=True)
    thread.start()
    until(lambda: bool(house.pids))
    house.flow.materializations.cancel(house.number)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert house.state is MaterializationState.CANCELLED
    outcomes = [each.outcome for each in house.flow.materializations.attempts(house.number)]
    assert outcomes == [AttemptOutcome.CANCELLED]
    assert not any(map(is_alive, house.pids))


def test_attempt_beyond_the_grace_time_is_released_at_the_stop(
    assets: ModuleType, tmp_path: Path
) -> None:
    house = House(tmp_path, assets.hangs)
    flow = Flowstone(house.pipeline, store=f"sqlite:///{tmp_path / 'house.db'}", grace="1ms")
    OPENED.append(flow)
    thread = threading.Thread(target=flow.run, daemon=True)
    thread.start()
    until(lambda: bool(house.pids))
    flow.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert house.state is MaterializationState.RETRYING
    until(lambda: not any(map(is_alive, house.pids)))
    (attempt,) = house.flow.materializations.attempts(house.number)
    assert attempt.outcome is AttemptOutcome.RELEASED


def test_asset_that_cannot_be_pickled_is_refused() -> None:
    pipeline = Pipeline("shop")
    pipeline.asset(name="made", run_in="process")(lambda context: None)
    with pytest.raises(ValidationError, match="cannot be pickled for a child process") as caught:
        Flowstone(pipeline, store="sqlite://")
    assert "under its own name, at the top level of a module" in str(caught.value)


def wait_until(house: House, happened: Callable[[], bool]) -> None:
    """Run in the background until something is so."""
    thread = threading.Thread(target=house.flow.run, daemon=True)
    thread.start()
    until(happened)
    house.flow.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_answer_at_the_timeout_counts_and_its_process_is_not_reused(
    assets: ModuleType, tmp_path: Path
) -> None:
    house = House(tmp_path, assets.tells, timeout="1h")
    store, clock, ended = house.flow._open_store(), SystemClock(), []
    made = AssetGraph(house.pipeline.assets.values())
    heartbeat = Heartbeat(store, clock, timedelta(hours=1))
    store.runners.register(heartbeat.runner)
    setup = EngineSetup(store.queue, made, clock, heartbeat.runner.id)
    (claim,) = store.queue.claim(heartbeat.runner.id, 1, made, clock.now()).claims

    class Late(ChildProcess):
        def call(self, method: str, *arguments: object) -> object:
            answer = super().call(method, *arguments)
            execution.expired()
            return answer

    class Lone(ChildPool):
        def borrow(self) -> ChildProcess:
            return child

    child, children = Late("late", AssetHost, str), Lone(str)
    writer = ResultWriter(setup, ended.extend)
    execution = Execution(claim, setup, writer.put, children)
    execution.run()
    writer.write()
    assert ended == [execution]
    assert house.state is MaterializationState.COMPLETED
    assert children._idle == []
    with pytest.raises(ConflictError):
        child.call("attempt")
    house.flow.close()


def test_asset_function_that_cannot_be_sent_is_a_failed_attempt(
    assets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, assets.tells, max_attempts=1)
    monkeypatch.delattr(assets, "tells")  # since it was declared
    house.run()
    assert house.state is MaterializationState.DISCARDED
    (error,) = house.errors()
    assert "tells" in str(error)
