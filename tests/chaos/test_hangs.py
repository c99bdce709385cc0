"""What hangs harms itself alone: the short form of ``hangs.py``, in which no time decides."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hangs import Swamp, wait_for

from flowstone_core.model.clock import SystemClock
from tests import forked

PATIENCE = 300
LOADING = 5.0
MANY = 10


@pytest.fixture(scope="module")
def starting() -> str:
    """The deadline of a poll in a process: several times what an interpreter takes to start."""
    clock = SystemClock()
    before = clock.monotonic()
    subprocess.run([sys.executable, "-c", "import flowstone_core.store"], check=True)
    return f"{max(3, round(4 * (clock.monotonic() - before)))}s"


@pytest.fixture
def enter(tmp_path: Path, starting: str) -> Iterator[Callable[..., Swamp]]:
    """Begin a process in which something hangs; it is killed after the test."""
    begun: list[Swamp] = []

    def enter(places: str, *options: str, **more: object) -> Swamp:
        folder = tmp_path / str(len(begun))
        folder.mkdir()
        more = {"loading": LOADING, "popen": forked.Popen, "starting": starting} | more
        begun.append(Swamp(folder, places, *options, **more))
        return begun[-1]

    yield enter
    for swamp in begun:
        swamp.process.kill()
        swamp.process.wait()


def until(happened: Callable[[], bool], swamp: Swamp) -> None:
    assert wait_for(happened, PATIENCE), swamp.log


def polled_on(swamp: Swamp) -> None:
    """See the healthy sensor polled again and again."""
    polls = swamp.polls_since
    until(lambda: swamp.polls_since >= polls + MANY, swamp)


def where(swamp: Swamp) -> list[str]:
    return sorted(place for _, place, _ in swamp.stuck)


def ended(swamp: Swamp) -> bool:
    return swamp.end(PATIENCE) is not None and swamp.process.returncode == 0


@pytest.mark.parametrize("place", ["import", "hook"])
def test_P12_plugin_hanging_at_import_is_named_and_the_process_starts(
    enter: Callable[..., Swamp], place: str
) -> None:
    swamp = enter(place)
    polled_on(swamp)
    assert swamp.became(place) == {"plugin named": 1}
    assert where(swamp) == [place]
    assert ended(swamp), swamp.log


def test_P1_P17_hanging_threads_are_left_and_others_continue(
    enter: Callable[..., Swamp],
) -> None:
    swamp = enter("poll+asset+trigger+observer")
    for place in ("poll", "asset", "trigger"):
        until(lambda place=place: swamp.became(place) == {"timed_out": 1}, swamp)  # type: ignore[misc]
    until(lambda: len(swamp.stuck) == 4, swamp)
    polled_on(swamp)
    until(lambda: len(swamp.told("made")) == 1, swamp)
    assert where(swamp) == ["asset", "observer", "poll", "trigger"], "none of them is called again"
    assert swamp.became("poll") == {"timed_out": 1}
    assert ended(swamp), swamp.log
    assert swamp.became("observer") == {"plugin named": 1}


def test_P1_hanging_init_is_treated_as_a_hanging_poll(enter: Callable[..., Swamp]) -> None:
    swamp = enter("init")
    until(lambda: swamp.became("init") == {"timed_out": 1}, swamp)
    polled_on(swamp)
    assert where(swamp) == ["init"]
    assert ended(swamp), swamp.log


@pytest.mark.parametrize("place", ["init", "poll"])
def test_P1_hanging_call_in_a_process_is_killed_and_retried(
    enter: Callable[..., Swamp], place: str
) -> None:
    swamp = enter(f"{place}+asset", "process")
    until(lambda: swamp.became("asset") == {"timed_out": 1}, swamp)
    until(lambda: where(swamp).count(place) >= 2, swamp)
    assert swamp.became(place)["timed_out"]
    polled_on(swamp)
    processes = [process for _, what, process in swamp.stuck if what == place]
    assert len(set(processes)) == len(processes)
    assert str(swamp.process.pid) not in processes
    assert ended(swamp), swamp.log


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_P1_hanging_cleanup_is_named_and_the_process_ends(
    enter: Callable[..., Swamp], mode: str
) -> None:
    swamp = enter("cleanup", mode)
    until(lambda: bool(set(swamp.became("poll")) - {"timed_out"}), swamp)
    polled_on(swamp)
    assert ended(swamp), swamp.log
    assert where(swamp) == ["cleanup"]
    assert swamp.became("cleanup") == {"sensor named": 1}


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_P3_busy_loop_affects_only_its_sensor(enter: Callable[..., Swamp], mode: str) -> None:
    swamp = enter("poll", mode, "spins")
    until(lambda: bool(swamp.became("poll")["timed_out"]), swamp)
    polled_on(swamp)
    assert ended(swamp), swamp.log


def test_P3_frozen_interpreter_of_a_process_is_killed(
    enter: Callable[..., Swamp],
) -> None:
    swamp = enter("poll", "process", "holds-gil")
    until(lambda: swamp.became("poll")["timed_out"] >= 2, swamp)
    polled_on(swamp)
    assert ended(swamp), swamp.log


def test_P3_frozen_runner_ends_and_another_takes_over(
    enter: Callable[..., Swamp],
) -> None:
    frozen = enter("poll", "thread", "holds-gil", lease="3s")
    until(lambda: bool(frozen.stuck), frozen)
    assert frozen.process.wait(PATIENCE) == 1, "it may hold a lock of the store, so it is ended"
    assert "Timeout (0:00:06)!" in frozen.log
    assert 'swamp.py", line' in frozen.log
    polls = len(frozen.told("begun"))
    second = enter("nowhere", "thread", "sleeps", lease="3s", store=frozen.store)
    polled_on(second)
    assert len(frozen.told("begun")) == polls
    assert ended(second), second.log
