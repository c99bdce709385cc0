"""Kill a runner again and again, at every step of its work, and balance the ledger afterwards.

``make chaos`` runs it. Each round is a process of its own that runs FlowStone on one store and
dies by SIGKILL: at a named point of a tick, of a transaction or of a materialization, or at a
moment that nobody chose. Then it is seen whether each number of the ledger's sources has become
exactly one event, and each of its materializations has been made to its end.

The same seed gives the same kills, at the same points, in the same order.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import event
from sqlalchemy.engine import Engine

from flowstone_core import Flowstone
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.store import (
    EngineQueue,
    RunnerRepository,
    SensorRepository,
    Store,
    TickRepository,
)
from flowstone_core.testing import CrashPoint
from flowstone_core.testing.crash_point import VARIABLE

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parent.parent))

import statements
from ledger import BEFORE_POLL, BEGUN, DONE, IN_POLL, balance, ledger_pipeline

BEFORE_BEGIN = CrashPoint("K3 before BEGIN")
STATE_WRITTEN = CrashPoint("K4 the state is written")
EVENTS_WRITTEN = CrashPoint("K5 events are written")
ASKED_FOR = CrashPoint("K5 materializations are written")
BEFORE_COMMIT = CrashPoint("K6 before COMMIT")
COMMITTED = CrashPoint("K7 a tick is committed")
CLAIMED = CrashPoint("K8 a materialization is claimed")
BEFORE_FINISH = CrashPoint("K9 made, not acknowledged")
FINISHED = CrashPoint("K9 acknowledged")
REGISTERED = CrashPoint("a runner is registered")
OWNED = CrashPoint("sensors are claimed")

POINTS = [
    BEFORE_POLL, IN_POLL, BEFORE_BEGIN, STATE_WRITTEN, EVENTS_WRITTEN, ASKED_FOR, BEFORE_COMMIT,
    COMMITTED, CLAIMED, BEGUN, DONE, BEFORE_FINISH, FINISHED, REGISTERED, OWNED,
]  # fmt: skip
PATIENCE = 1.5
"""Seconds after which a round that has not come to its point is killed."""

_STATEMENTS = {
    "UPDATE flowstone_sensors SET version": STATE_WRITTEN,
    "INSERT INTO flowstone_events": EVENTS_WRITTEN,
    "INSERT INTO flowstone_materializations": ASKED_FOR,
}


@dataclass
class Score:
    """What was done to a runner, and what became of the numbers."""

    kills: Counter[str] = field(default_factory=Counter)
    survived: int = 0
    events: int = 0
    again: int = 0
    retried: int = 0
    problems: list[str] = field(default_factory=list)


def arm() -> None:
    """Put the crash points where they belong; in each process that is to die."""
    BEFORE_BEGIN.before(TickRepository, "commit")
    COMMITTED.after(TickRepository, "commit")
    CLAIMED.after(EngineQueue, "claim")
    BEFORE_FINISH.before(EngineQueue, "finish")
    FINISHED.after(EngineQueue, "finish")
    REGISTERED.after(RunnerRepository, "register")
    OWNED.after(SensorRepository, "claim")

    def executed(statement: str) -> None:
        for start, point in _STATEMENTS.items():
            if statement.startswith(start):
                point.reach()

    statements.watch()
    statements.tell(executed)

    @event.listens_for(Engine, "commit")
    def _committing(_: object) -> None:
        BEFORE_COMMIT.reach()


def run_until_killed(url: str, book: Path, limit: int, crash_at: str) -> None:
    """Be the process of one round; never returns."""
    os.environ[VARIABLE] = crash_at
    arm()
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - it dies with the process
    with Flowstone(ledger_pipeline(book, limit), store=url, lease="1s") as flow:
        flow.run()
    os._exit(0)


def finish(url: str, book: Path, limit: int) -> int:
    """Run, without any harm, until everything is made; return the number of retried ones.

    On a busy machine, a process gets so little done before its kill that some materializations
    lose five attempts, and are discarded, as documented. They are retried, as an operator would.
    """
    retried = 0
    with Flowstone(ledger_pipeline(book, limit), store=url, lease="1s") as flow:
        for _ in range(limit):
            flow.run(once=True)
            retried += _retry_lost(flow)
            states = {
                str(state) for state, count in flow.status().materializations.items() if count
            }
            if states <= {"completed"} and _emitted(flow) == {limit}:
                break
    return retried


def _retry_lost(flow: Flowstone) -> int:
    discarded = flow.materializations.latest(state=MaterializationState.DISCARDED, limit=1_000_000)
    lost = [each for each in discarded if "were lost with their runners" in (each.error or "")]
    for each in lost:
        flow.materializations.retry(each.id)
    return len(lost)


def _emitted(flow: Flowstone) -> set[int]:
    return {int(flow.sensors.state(name) or 0) for name in ("keyed", "keyless")}


def one_store(folder: Path, kills: int, seed: int, url: str | None = None) -> Score:
    """Kill the runner of one store so many times, then balance its ledger.

    This process must have no threads: it forks.
    """
    chosen = random.Random(seed)  # noqa: S311 - a seed is the point of it
    url = url or f"sqlite:///{folder / 'chaos.db'}"
    book = folder / "book.txt"
    score = Score()
    limit = 30
    while score.kills.total() < kills:
        limit += 12
        point = chosen.choice([*POINTS, None, None])
        passes = chosen.randint(1, 8) if point not in {REGISTERED, OWNED} else 1
        moment = chosen.uniform(0.02, 0.6)
        crash_at = "" if point is None else f"{point.name}*{passes}"
        pid = os.fork()
        if pid == 0:
            try:
                run_until_killed(url, book, limit, crash_at)
            finally:
                os._exit(1)
        killed = _await(pid, moment if point is None else PATIENCE)
        if killed:
            score.survived += 1 if point is not None else 0
        name = "a random moment" if point is None or killed else point.name
        score.kills[name] += 1
    score.retried = finish(url, book, limit)
    store = Store.open(url)
    try:
        result = balance(store, book, limit)
    finally:
        store.close()
    score.events, score.again, score.problems = result.events, result.again, list(result.problems)
    return score


def _await(pid: int, moment: float) -> bool:
    """Wait for a process to kill itself; kill it at the moment if it has not. Say whether so."""
    end = time.monotonic() + moment
    waiting = threading.Event()
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
                sys.exit(f"a round ended by itself, with status {status}")
            return False
        waiting.wait(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def main() -> int:
    """Read the command line, kill, balance, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--stores", type=int, default=4, help="each is killed by itself")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.kills} kills, {options.stores} stores", flush=True)
    logging.disable()
    scores = in_parallel(options.kills, options.seed, options.stores)
    kills = sum((score.kills for score in scores), Counter[str]())
    for name, count in sorted(kills.items()):
        print(f"  {count:5}  {name}")
    problems = [problem for score in scores for problem in score.problems]
    print(
        f"{kills.total()} processes killed, {sum(score.events for score in scores)} events, "
        f"{sum(score.again for score in scores)} functions called again under their run id, "
        f"{sum(score.retried for score in scores)} retried after five lost attempts; "
        f"lost or doubled: {len(problems)}"
    )
    for problem in problems[:20]:
        print(f"  {problem}")
    return 1 if problems else 0


def in_parallel(kills: int, seed: int, stores: int) -> list[Score]:
    """Kill the runners of several stores at once."""
    assignment = -(-kills // stores)
    with multiprocessing.get_context("fork").Pool(stores) as pool:
        return pool.starmap(in_folder, [(assignment, seed + number) for number in range(stores)])


def in_folder(kills: int, seed: int) -> Score:
    """Kill the runner of a store in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="flowstone-chaos-") as folder:
        return one_store(Path(folder), kills, seed)


if __name__ == "__main__":
    sys.exit(main())
