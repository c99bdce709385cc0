"""The checks of what a sensor does when its external source fails, or does not answer."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from datetime import datetime

from flowstone_core.model.clock import Clock, SystemClock, Waker
from flowstone_core.model.partition import Partition
from flowstone_core.model.tick import TickOutcome
from flowstone_core.testing.contract.check import check
from flowstone_core.testing.contract.driver import Driver, PollRecord, quietly, shown
from flowstone_core.testing.contract.overrides import ContractOverrides
from flowstone_core.testing.contract.violation import Violation, told


class FailureChecks(ContractOverrides):
    """Checks that an outage costs nothing but time."""

    @check("test_nothing_is_lost_when_a_commit_fails")
    def test_an_outside_error_leaves_the_state_alone(self) -> None:
        """While the external source fails, polls fail, and no change is lost."""
        broken = self.break_source()
        driver = self._driver()
        changes = self._make_changes(2, driver)
        with broken:
            records = [driver.poll(), driver.poll()]
        for record in records:
            _judge_failure(record, "the external source failed", "break_source")
        driver.commit(records[-1])
        self._recovered(driver, changes, "the external source was well again")

    @check("test_an_outside_error_leaves_the_state_alone")
    def test_a_source_that_never_answers_is_given_up(self) -> None:
        """A poll ends by its own time-outs, and the next ones continue from the same state."""
        hung = self.hang_source()
        driver = self._driver(_RealTime(self.clock))
        driver.deadline = self.patience / 2
        changes = self._make_changes(2, driver)
        records: list[PollRecord] = []
        with hung:
            call = InThread(lambda: records.append(driver.poll()))
            ended = call.wait(self.patience)
        call.wait(self.patience)
        if not ended:
            raise Violation(
                f"the external source did not answer, and {self.patience:g} s later poll had "
                "not come back.",
                why="A thread cannot be killed: the tick is ended at its deadline, but the "
                "sensor is not polled again before this poll has come back.",
                remedy="Set a time-out on whatever poll calls: to connect, to read, and for "
                "all of it; have make_sensor choose short ones.",
            )
        _judge_failure(records[0], "the external source did not answer", "hang_source")
        driver.commit(records[0])
        self._recovered(driver, changes, "the external source answered again")

    @check("test_an_outside_error_leaves_the_state_alone")
    def test_a_poll_stops_at_its_deadline(self) -> None:
        """A poll of a source without end ends at its deadline, with its threads."""
        endless = self.endless_source()
        clock = _Hurrying(self.clock)
        driver = self._driver(clock)
        changes = self._make_changes(2, driver)
        before = set(threading.enumerate())
        records: list[PollRecord] = []
        with endless:
            clock.hurries = True
            call = InThread(lambda: records.append(driver.poll()))
            ended = call.wait(self.patience)
        clock.hurries = False
        call.wait(self.patience)
        if not ended:
            raise Violation(
                "the external source had no end, and poll read on after its deadline.",
                why="A thread cannot be killed: it reads on, for nobody, until memory is used up "
                "or the source ends.",
                remedy="Call context.check_deadline() for each page, batch or chunk; or stop "
                "while context.seconds_left() is enough, and go on in the next poll.",
            )
        if records[0].failed:
            _judge_failure(records[0], "the external source had no end", "endless_source")
        driver.commit(records[0])
        self._recovered(driver, changes, "the external source came to an end")
        driver.stop()
        alive = self._still_alive(before)
        if alive:
            raise Violation(
                f"after the poll's end and cleanup its threads went on: {', '.join(alive)}.",
                why="A thread that reads on after the deadline reads for nobody.",
                remedy="Have each thread call context.check_deadline(), and join it in cleanup.",
            )

    @check("test_nothing_is_lost_when_a_commit_fails")
    def test_connect_proves_and_changes_nothing(self) -> None:
        """`connect` succeeds, and takes no event away from the polls after it."""
        driver = self._driver()
        changes = self._make_changes(2, driver)
        sensor = driver.new_sensor()
        try:
            sensor.connect()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes the message
            raise Violation(
                f"nothing was wrong outside, and connect raised {told(error)}.",
                why="'flowstone check --connect' would say that the external source "
                "cannot be reached.",
                remedy="Let connect do the least that proves that a poll would succeed.",
            ) from None
        quietly(sensor.cleanup)
        self.settle()
        driver.drain("after connect")
        unseen = self._unseen(changes, driver.found)
        if unseen:
            raise Violation(
                f"{unseen[0]!r} was there, connect was called, and no later poll found it.",
                why="'flowstone check --connect' may be called at any time, beside a runner.",
                remedy="Override connect: ask the external source something that takes "
                "nothing from it.",
            )

    @check("test_connect_proves_and_changes_nothing")
    def test_connect_fails_where_the_source_does(self) -> None:
        """While the external source fails, `connect` raises."""
        broken = self.break_source()
        driver = self._driver()
        sensor = driver.new_sensor()
        with broken:
            try:
                sensor.connect()
            except (Exception, SystemExit):  # noqa: BLE001 - whatever a poll would raise
                return
        raise Violation(
            "the external source failed, and connect raised nothing.",
            why="'flowstone check --connect' would say that all is well.",
            remedy="Let connect raise what a poll would raise.",
        )

    def _still_alive(self, before: set[threading.Thread]) -> list[str]:
        late = [each for each in threading.enumerate() if each not in before]
        for thread in late:
            thread.join(self.patience)
        return [repr(each.name) for each in late if each.is_alive()]

    def _recovered(self, driver: Driver, changes: list[Partition], when: str) -> None:
        self.settle()
        try:
            driver.drain()
        except Violation as found:
            raise Violation(
                f"{when}, and the same instance still fails: {found.seen}",
                why="Only a restart of the runner would help.",
                remedy="Throw away what failed, a connection or a client, and make another one "
                "at the next poll.",
            ) from None
        unseen = self._unseen(changes, driver.found)
        if unseen:
            raise Violation(
                f"{when}, and {unseen[0]!r}, which had come before, was no longer found.",
                why="Changes made while the external source fails would be lost.",
                remedy="Change what is remembered only after the whole read has succeeded.",
            )


class InThread:
    """Call that runs in a separate thread, started at once.

    Args:
        call: The call.
        stay: How long the thread is there: another one has another identity only until then.
    """

    def __init__(self, call: Callable[[], object], stay: threading.Event | None = None) -> None:
        self._call = call
        self._stay = stay
        self._error: BaseException | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="flowstone-contract", daemon=True).start()

    def wait(self, patience: float) -> bool:
        """Wait for the call for at most ``patience`` seconds; return True if it has ended.

        Raises:
            BaseException: The error that the call raised.
        """
        ended = self._ended.wait(patience)
        if self._error is not None:
            raise self._error
        return ended

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        self._ended.set()
        if self._stay is not None:
            self._stay.wait()


class _RealTime(Clock):
    """A wall clock that is moved by hand, and seconds that pass: time-outs must come to an end."""

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._real = SystemClock()

    def now(self) -> datetime:
        return self._wall.now()

    def monotonic(self) -> float:
        return self._real.monotonic()

    def waker(self) -> Waker:
        return self._real.waker()


class _Hurrying(Clock):
    """A wall clock that is moved by hand, and seconds that pass at each reading."""

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._read = itertools.count(1)
        self._seconds = 0
        self.hurries = False

    def now(self) -> datetime:
        return self._wall.now()

    def monotonic(self) -> float:
        if self.hurries:
            self._seconds = next(self._read)
        return self._wall.monotonic() + self._seconds

    def waker(self) -> Waker:
        return SystemClock().waker()


def _judge_failure(record: PollRecord, when: str, hook: str) -> None:
    outcome = record.decision.outcome
    if not record.failed:
        raise Violation(
            f"{when}, and {record}, as if all were well.",
            why="Nobody is told that the sensor sees nothing: no failure is recorded, counted or "
            "shown, and no poll backs off.",
            remedy="Let the error out of poll, or return PollFailed with it and the state as it "
            f"was given; if the external source did not fail, correct {hook}.",
        )
    if outcome is TickOutcome.BROKEN:
        raise Violation(
            f"{when}, and {record}: the sensor is not polled again until it is reset by hand.",
            why="An outage passes by itself; SensorBroken says that no retry will ever help.",
            remedy="Let the error out, or raise RetryLater.",
        )
    if record.state != record.given_state:
        raise Violation(
            f"{when}, and {record}. The state it returned was {shown(record.state)}; it was given "
            f"{shown(record.given_state)}.",
            why="The part that was not read is passed over by the next poll.",
            remedy="Return PollFailed with the state as it was given, or let the error out.",
        )
