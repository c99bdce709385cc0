"""Threads that do to a sensor or a schedule whatever operators, runners and the world may do."""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random, SystemRandom

from flowstone_core.app.flowstone import Flowstone
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.errors import ConflictError, FlowstoneError, NotFoundError
from flowstone_core.model.partition import Partition
from flowstone_core.store import Store
from flowstone_core.testing.concurrency.invariants import Invariants
from flowstone_core.testing.concurrency.operations import Hands, Operations
from flowstone_core.testing.concurrency.recorder import Recorder, Versions
from flowstone_core.testing.concurrency.report import ConcurrencyReport
from flowstone_core.testing.concurrency.settling import come_to_rest
from flowstone_core.testing.fake_clock import FakeClock

_MOMENT = 0.01


class ConcurrencyHarness:
    """Threads against a sensor or a schedule of a real Flowstone, on a real SQLite file.

    Each thread does random operations: a run of one of several runners of the same store, a
    change of the external source, pause, resume, reset, an edit of a schedule, a materialization by
    hand, cancel, retry, and letting time pass; now and then a runner stalls before it writes, and
    goes on with what it knew. Then everything is resumed and comes to rest, and
    it is seen whether

    * each event is one event of its source and key, and its materialization came to an end;
    * a run id is one materialization's for ever, and none has two attempts at once, unless it
      was cancelled and retried while what could not be stopped of it still ran;
    * the version of a sensor or a schedule never went back;
    * each change of the world is in an event, and in no more of them than there were resets, and
      each instant of a schedule is an event or was skipped with its reason;
    * nothing was raised but refusals.

    Args:
        declare: Given a pipeline, declares the sensor or schedule, or several, for the assets.
            It is called once for each run.
        change: Makes the external source change; given a number that counts up from 1, it returns
            what the event is known by: its partition, if no other change has it, or a text that
            only this event has in its key or its payload; or None if nothing need come of it.
            Threads call it one at a time.
        expected: Asked when the threads are done: what must be in an event besides, known as
            what ``change`` returns is. For a sensor that sees only the last of several changes.
        assets: The names of the assets; the harness makes and watches their functions.
        threads: How many there are.
        operations: How many each does.
        runners: How many Flowstones there are, all on one store.
        without: Operations to leave out: of ``tick``, ``change``, ``wait``, ``pause``, ``resume``,
            ``reset``, ``edit``, ``materialize``, ``cancel``, ``retry``.
        step: The most that time is let pass at once; a schedule needs some of its interval.
        failing: The share of calls of the assets' functions that raise.
        patience: Seconds of real time after which what has not come to an end is taken to hang.

    Raises:
        ValueError: If ``without`` names an unknown operation.

    Example:
        >>> from flowstone_core import Event, NotTriggered, Sensor, SensorConfig, Triggered
        >>> from flowstone_core.testing import ConcurrencyHarness
        >>> class Mailbox:
        ...     letters = []
        >>> class NewLetters(Sensor[SensorConfig, int]):
        ...     '''Fires for each letter; remembers how many there were.'''
        ...     def init(self):
        ...         return 0
        ...     def poll(self, state):
        ...         new = Mailbox.letters[state:]
        ...         if not new:
        ...             return NotTriggered(state)
        ...         return Triggered([Event(letter) for letter in new], state + len(new))
        >>> def change(number):
        ...     Mailbox.letters.append(f"letter-{number}")
        ...     return f"letter-{number}"
        >>> def declare(pipeline):
        ...     pipeline.sensor("letters", NewLetters, asset="made")
        >>> ConcurrencyHarness(declare, change=change, operations=10).run().assert_sound()
    """

    def __init__(
        self,
        declare: Callable[[Pipeline], None],
        *,
        change: Callable[[int], Partition | None] | None = None,
        expected: Callable[[], Collection[Partition]] = tuple,
        assets: Sequence[str] = ("made",),
        threads: int = 4,
        operations: int = 40,
        runners: int = 2,
        without: Collection[str] = (),
        step: timedelta = timedelta(seconds=5),
        failing: float = 0.1,
        patience: float = 120.0,
    ) -> None:
        unknown = set(without) - Operations.names()
        if unknown:
            raise ValueError(f"no operations: {', '.join(sorted(unknown))}")
        self._declare = declare
        self._change = change
        self._expected = expected
        self._assets = assets
        self._threads = threads
        self._operations = operations
        self._runners = runners
        self._without = frozenset(without)
        self._step = step
        self._failing = failing
        self._patience = patience

    def run(self, seed: int | None = None) -> ConcurrencyReport:
        """Let the threads work, then everything come to rest, and judge.

        Args:
            seed: What the threads' choices are made from; any one by default. The same seed makes
                the same choices, and the machine interleaves them as it likes.

        Returns:
            The operations done and the problems found.

        Raises:
            ValidationError: If what ``declare`` says is refused. What it raises passes.
        """
        seed = SystemRandom().randrange(10**6) if seed is None else seed
        with ExitStack() as stack:
            folder = tempfile.TemporaryDirectory(
                prefix="flowstone-harness-", ignore_cleanup_errors=True
            )
            url = f"sqlite:///{Path(stack.enter_context(folder)) / 'flowstone.db'}"
            recorder, clock = Recorder(self._failing, seed), FakeClock()
            pipeline = self._pipeline(recorder)
            flows = [
                stack.enter_context(Flowstone(pipeline, store=url, clock=clock, lease="1h"))
                for _ in range(self._runners)
            ]
            for flow in flows:
                own = flow._open_store()  # noqa: SLF001 - a runner's own
                recorder.stall(own.ticks, "commit")
                recorder.stall(own.queue, "finish")
            store = Store.open(url)
            stack.callback(store.close)
            hands = Hands(flows, store, clock, recorder, self._change, self._step, self._assets)
            invariants = Invariants(flows[0], store, hands)
            with passing(clock), _eager_threads():
                ended = self._work(hands, seed)
                invariants.expected = tuple(self._expected())
                if ended and not come_to_rest(hands, invariants, self._patience):
                    recorder.blame(f"it did not come to rest: {invariants.unrest()}")
            return invariants.report(seed)

    def _pipeline(self, recorder: Recorder) -> Pipeline:
        pipeline = Pipeline("harness")
        for asset in self._assets:
            pipeline.asset(name=asset, backoff="1s", backoff_limit="1s")(
                recorder.watched_asset_function()
            )
        self._declare(pipeline)
        return pipeline

    def _work(self, hands: Hands, seed: int) -> bool:
        """Run the operations in all threads; False if not all came to an end."""
        threads = [
            threading.Thread(
                target=self._one_thread,
                args=(hands, Random(f"{seed} {number}")),  # noqa: S311 - a seed is the point of it
                name=f"flowstone-harness-{number}",
                daemon=True,
            )
            for number in range(self._threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self._patience)
        hanging = [thread.name for thread in threads if thread.is_alive()]
        if hanging:
            hands.over = True
            hands.recorder.blame(
                f"after {self._patience:g} s, {', '.join(hanging)} had not come to an end"
            )
        return not hanging

    def _one_thread(self, hands: Hands, chosen: Random) -> None:
        operations = Operations(hands, chosen, self._without)
        versions = Versions(hands.versions, hands.recorder.blame)
        for _ in range(self._operations):
            name, operation = operations.draw()
            refused = None
            try:
                operation()
            except Exception as error:  # noqa: BLE001 - a sensor's author sees whatever it was
                refused = type(error).__qualname__
                if not hands.over and not _is_refusal(error):
                    hands.recorder.blame(f"{name} raised {refused}: {error}")
            if hands.over:
                return
            hands.recorder.count(name, refused)
            versions.look()
            hands.recorder.look(hands.store)


@contextmanager
def passing(clock: FakeClock) -> Iterator[None]:
    """Advance the clock with real time, so that no thread waits for it for ever."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(_MOMENT):
            clock.advance(_MOMENT)

    thread = threading.Thread(target=go_on, name="flowstone-harness-clock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _eager_threads() -> Iterator[None]:
    """Switch between threads a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, FlowstoneError) and error.retryable:
        return True
    return isinstance(error, ConflictError | NotFoundError)
