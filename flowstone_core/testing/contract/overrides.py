"""Overrides: the members that an author defines so that a sensor can be checked."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import cached_property
from typing import ClassVar, NoReturn

import pytest

from flowstone_core.model.clock import Clock
from flowstone_core.model.partition import Partition
from flowstone_core.model.sensor import AnySensor, PollContext
from flowstone_core.model.tick import NewEvent
from flowstone_core.testing.contract.driver import Driver, shown_events
from flowstone_core.testing.contract.identity import identifies
from flowstone_core.testing.contract.violation import Violation
from flowstone_core.testing.fake_clock import FakeClock

MINUTE = timedelta(minutes=1)

_OPTIONAL = (
    "break_source",
    "change_to_skip",
    "endless_source",
    "hang_source",
    "invalid_settings",
    "secrets",
)


class ContractOverrides(ABC):
    """Base class with all that an author overrides: make the sensor, change the external source."""

    sees_only_the_last: ClassVar[bool] = False
    """True if only the last of several changes between two polls is seen."""

    polls_to_fire: ClassVar[int] = 1
    """How many polls it takes until a change fires, with `settle` between them: two for a sensor
    that waits until it has seen twice that something stays as it is."""

    many: ClassVar[int] = 12
    """How many changes are a lot: more than one page of the external source, if there are
    pages, and more than any limit of the sensor itself."""

    assets: ClassVar[Sequence[str]] = ()
    """The assets that its events name by themselves."""

    secrets: ClassVar[Sequence[str] | None] = None
    """The secrets in its settings; those that FlowStone knows by their type or name if it is None.
    Name them where a secret setting has parts that may be shown, such as the host of a URL."""

    invalid_settings: ClassVar[Sequence[tuple[Mapping[str, object], str]]] = ()
    """Wrong settings: what to change of those that `make_sensor` uses (``...`` leaves a setting
    out), and what the error must say, such as the name of the setting."""

    not_applicable: ClassVar[Mapping[str, str]] = {}
    """Checks that do not apply, and the reason for each, which is shown where it is skipped. What
    is optional here stands for the checks that need it: ``{"break_source": "there is none"}``."""

    patience: ClassVar[float] = 30.0
    """Seconds of real time after which what has not come to its end is taken to hang. They pass
    only where something is wrong."""

    # -- what an author gives -----------------------------------------------------------------

    @abstractmethod
    def make_sensor(self, context: PollContext) -> AnySensor:
        """Make a fresh instance over the same external source; called several times in a test.

        Its settings should have short time-outs, and secrets where it takes any.
        """

    @abstractmethod
    def change(self, number: int) -> Partition:
        """Change the external source, so that the sensor must fire for it.

        Where the external source gives its changes a time, let it be ``self.clock.now()``: then
        there can be several at one instant.

        Args:
            number: Counts up from 1; no two changes of a test have the same.

        Returns:
            The partition of the event, if no other change has it; or else a text that only this
            event has in its key or its payload.
        """

    @pytest.fixture
    def source(self) -> object:
        """Override it to prepare the external source, by whatever fixtures, and to take it down."""
        return None

    @cached_property
    def clock(self) -> FakeClock:
        """The clock in the sensor's context; it stands still until it is advanced."""
        return FakeClock()

    def settle(self) -> None:
        """Let pass whatever it takes until a poll finds what was changed: a minute, by itself.

        Override it for a sensor that leaves alone what is young, or an external source that hands
        out again only later what was taken and not acknowledged.
        """
        self.clock.advance(MINUTE)

    def break_source(self) -> AbstractContextManager[object]:
        """Return a context manager in which the external source refuses or fails."""
        self._lacking("break_source", "a context manager in which the external source fails")

    def hang_source(self) -> AbstractContextManager[object]:
        """Return a context manager in which the external source never answers."""
        self._lacking("hang_source", "a context manager in which the external source never answers")

    def endless_source(self) -> AbstractContextManager[object]:
        """Return a context manager in which the external source has no end.

        Each page names another, a query has always more rows, a body is never complete: something
        for each loop of a poll. In it ``context.clock`` hurries: each reading is a second later.
        """
        self._unsaid(
            "endless_source",
            "a context manager in which the external source has no end",
            "a poll is one query, with a time-out",
        )

    def change_to_skip(self, number: int) -> str:
        """Change the external source by an item that the sensor leaves out for good.

        A key without a date, say, or a row that is too old. Where it takes time until an item is
        given up, let the time pass here.

        Args:
            number: As in `change`.

        Returns:
            A text that names the item in the example of `Skipped`.
        """
        self._unsaid(
            "change_to_skip",
            f"which adds an item (number {number}) that the sensor leaves out for good",
            "each file fires",
        )

    # -- what the checks use --------------------------------------------------------------------

    @cached_property
    def _drivers(self) -> list[Driver]:
        return []

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return itertools.count(1)

    @pytest.fixture(autouse=True)
    def _kept(self, source: object) -> Iterator[None]:  # noqa: ARG002 - it must be there first
        unknown = [
            name
            for name in self.not_applicable
            if name not in _OPTIONAL and not (name.startswith("test_") and hasattr(self, name))
        ]
        if unknown:
            pytest.fail(f"not_applicable names no check of the contract: {', '.join(unknown)}")
        yield
        for driver in self._drivers:
            driver.close()

    def _lacking(self, name: str, what: str) -> NoReturn:
        excuse = self.not_applicable.get(name)
        if excuse is not None:
            pytest.skip(f"does not apply: {excuse}")
        pytest.skip(f"not checked: define {name}, {what}; or say in not_applicable why not")

    def _unsaid(self, name: str, what: str, excuse: str) -> NoReturn:
        """Skip a check that the author has excused; without an excuse the check fails."""
        if name in self.not_applicable:
            self._lacking(name, what)
        raise Violation(
            f"the contract has no {name}, and no reason why none is needed.",
            why="What a sensor leaves out in silence, and a poll that never ends, are found by "
            "nobody else.",
            remedy=f"Define {name}, {what}; or say that there is none: "
            f'not_applicable = {{"{name}": "{excuse}"}}.',
        )

    def _driver(self, clock: Clock | None = None, *, drained: bool = True) -> Driver:
        """Make a driver, whose sensor has found all that there was already."""
        driver = Driver(self.make_sensor, clock or self.clock, self.assets)
        self._drivers.append(driver)
        if drained:
            driver.drain("before anything was changed")
        return driver

    def _change(self) -> Partition:
        return self.change(next(self._numbers))

    def _make_changes(self, count: int, driver: Driver | None = None) -> list[Partition]:
        """Make changes, one a minute, and have all polls but the last that they take."""
        made = []
        for _ in range(count):
            self.clock.advance(MINUTE)
            made.append(self._change())
        self.settle()
        if driver is not None:
            self._await(driver)
        return made

    def _await(self, driver: Driver) -> None:
        for _ in range(self.polls_to_fire - 1):
            driver.tick("after a change outside")
            self.settle()

    def _unseen(self, changes: Sequence[Partition], events: Sequence[NewEvent]) -> list[Partition]:
        """Return the changes that must be among the events, and are not."""
        due = self._due(changes)
        return [each for each in due if not any(identifies(each, event) for event in events)]

    def _due(self, changes: Sequence[Partition]) -> Sequence[Partition]:
        """Return those of several changes between two polls that must be found."""
        return changes[-1:] if self.sees_only_the_last else changes

    def _require(self, changes: Sequence[Partition], driver: Driver, when: str) -> None:
        unseen = self._unseen(changes, driver.found)
        if unseen:
            raise Violation(
                f"{listed(unseen)} was not found {when}; the last that it found: "
                f"{shown_events(driver.found[-3:])}.",
                why="A change that the sensor does not find is never materialized.",
                remedy="Correct the poll; or, if it did find it, have change() return the event's "
                "partition, or a text in its key or payload.",
            )


def listed(changes: Sequence[Partition]) -> str:
    """Write changes for a message."""
    more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
    return ", ".join(repr(change) for change in changes[:5]) + more
