"""Assignment: the sensors, or the schedules, that a runner owns; claims and hands over its share.

Pausing, resuming, resetting or editing a sensor or schedule takes it from its runner. So those
without an owner show everything that operators did, at a cost that does not grow with the number
of sensors. Another runner that takes over leaves none without an owner: a count shows that this
runner has lost something, and only then the names are read.
"""

from __future__ import annotations

import logging
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from flowstone_core.runtime.coordination.session import RunnerSession
from flowstone_core.runtime.coordination.shares import Shares
from flowstone_core.store import Ownership, Survey

T = TypeVar("T")

logger = logging.getLogger("flowstone.reconciler")

UNWANTED_SECONDS = 3.0
"""Seconds after which a runner may claim above its quota what no runner has claimed."""

OFFER_SECONDS = 60.0
"""Seconds after which such ones are offered again: another runner was slow, perhaps."""

LONGEST_OFFER_SECONDS = 3600.0
"""Longest such time: it doubles each time."""


@dataclass(frozen=True, slots=True)
class Listeners(Generic[T]):
    """Functions that an assignment calls, in the thread that reconciles.

    Attributes:
        on_claimed: Called with the name and the record of each that the runner owns from now on.
        on_lost: Called with the name of each that the runner must not tick any longer.
        is_busy: Returns True while a tick of the one with this name has not ended.
    """

    on_claimed: Callable[[str, T], None]
    on_lost: Callable[[str], None]
    is_busy: Callable[[str], bool] = lambda _: False


class Assignment(ABC, Generic[T]):
    """Tracks which sensors (or schedules) a runner owns, and keeps them at its share.

    Args:
        kind: ``sensor`` or ``schedule``.
        session: The runner's session.
        listeners: Called for each that is claimed or lost.
    """

    def __init__(self, kind: str, session: RunnerSession, listeners: Listeners[T]) -> None:
        self._kind = kind
        self._store = session.store
        self._clock = session.clock
        self._lease = session.lease
        self._runner_id = session.runner_id
        self._listeners = listeners
        self._owned: set[str] = set()
        self._forgotten: set[str] = set()
        self._leaving: dict[str, float] = {}  # not ticked here, to be released after its tick
        self._unwanted: set[str] = set()  # above the quota, because no other runner took them
        self._free_since: dict[str, float] = {}
        self._offer_after = OFFER_SECONDS
        self._offer_at = math.inf

    @abstractmethod
    def declare(self) -> None:
        """Declare the sensors or schedules to the store.

        Raises:
            StoreError: If the store cannot be used.
        """

    def reconcile(
        self, survey: Survey, shares: Shares, *, recheck: bool, everything: bool = False
    ) -> None:
        """Reconcile once with the store: give up what is lost, hand over what is too much, claim.

        Args:
            survey: What the store has now.
            shares: The shares of the living runners.
            recheck: Compare the names of all that is owned, whatever their number.
            everything: Claim all that is free, whatever the share.

        Raises:
            StoreError: If the store cannot be used.
        """
        again = self.give_up(survey, recheck=recheck)
        found = self._of(survey)
        tickable = self._tickable(found, refresh=recheck or shares.changed)
        for name in found.paused & tickable.keys():
            del tickable[name]
        self._offer_again(shares)
        quota = shares.quota(self._kind, tickable) + len(self._unwanted & self._owned)
        self._hand_over(len(self._owned) - len(self._leaving) - quota, tickable, shares)
        room = math.inf if everything else quota - len(self._owned)
        free = {
            name: shares.candidates(self._kind, name, tickable[name])
            for name in found.free.keys() & tickable.keys()
        }
        self._claim_all(again | self._choose(free, room))

    def give_up(self, survey: Survey, *, recheck: bool) -> set[str]:
        """Give up what is lost, and claim nothing: the part of `reconcile` without a lease.

        Returns:
            The names that may be claimed again.

        Raises:
            StoreError: If the store cannot be used.
        """
        found = self._of(survey)
        for name in self._owned & (found.free.keys() | found.paused):
            self._lose(name)
        again = set(self._forgotten)
        self._forgotten -= again
        if recheck or found.count != len(self._owned):
            again |= self._settle()
        return again

    def forget(self, name: str) -> None:
        """Give up one whose commit was refused; it may be claimed again. Any thread."""
        self._forgotten.add(name)
        self._lose(name)

    @abstractmethod
    def _of(self, survey: Survey) -> Ownership:
        """Return the sensors, or the schedules, of a survey."""

    @abstractmethod
    def _tickable(self, found: Ownership, *, refresh: bool) -> dict[str, str | None]:
        """Return all that this runner is able to tick.

        Returns:
            By name: the asset of a schedule that nothing declares, else None.
        """

    @abstractmethod
    def _read_owned(self) -> set[str]:
        """Return those that the store has this runner as the owner of."""

    @abstractmethod
    def _claim(self, names: Sequence[str]) -> Mapping[str, T]:
        """Claim those of the names that are free."""

    @abstractmethod
    def _release(self, names: Collection[str]) -> None:
        """Release those of the names that this runner owns."""

    def _settle(self) -> set[str]:
        """Give up what another runner owns; return what this one owns and does not know.

        A claim may have been committed though its answer was lost.
        """
        before = set(self._owned)
        owned = self._read_owned()
        taken = sorted(before - owned)
        if taken:
            extra = {"kind": self._kind, "count": len(taken), "examples": ", ".join(taken[:5])}
            logger.warning("taken over by another runner; no longer ticked here", extra=extra)
        for name in taken:
            self._lose(name)
        return owned - before

    def _hand_over(self, surplus: int, tickable: Mapping[str, str | None], shares: Shares) -> None:
        """Stop ticking what is above the share, and release it once its tick has ended."""
        now = self._clock.monotonic()
        is_busy = self._listeners.is_busy
        if surplus > 0:
            others = {
                name: shares.candidates(self._kind, name, tickable.get(name))
                for name in self._owned - self._leaving.keys() - self._unwanted
                if not is_busy(name)
            }
            chosen = sorted(others, key=lambda name: (-others[name], self._place(name)))[:surplus]
            for name in chosen:
                if others[name] > 1:
                    self._leaving[name] = now
                    self._listeners.on_lost(name)
        # A call that hangs must not keep it: its late commit is refused.
        ready = [
            name
            for name, since in list(self._leaving.items())
            if not is_busy(name) or now - since > self._lease.seconds
        ]
        if ready:
            self._release(ready)
            self._owned.difference_update(ready)
            for name in ready:
                self._leaving.pop(name, None)
            extra = {"kind": self._kind, "count": len(ready)}
            logger.info("handed over to other runners", extra=extra)

    def _offer_again(self, shares: Shares) -> None:
        """Offer what no runner wanted: others have come or gone, or time has passed."""
        if shares.changed:
            self._offer_after = OFFER_SECONDS
        elif self._clock.monotonic() < self._offer_at:
            return
        self._unwanted.clear()
        self._offer_at = math.inf

    def _choose(self, free: Mapping[str, int], room: float) -> set[str]:
        """Return those to claim: as many as there is room for, and what no runner wants.

        Args:
            free: The free ones, each with the number of runners that are able to tick it.
            room: How many this runner may claim.
        """
        now = self._clock.monotonic()
        self._free_since = {name: self._free_since.get(name, now) for name in free}
        ordered = sorted(free, key=lambda name: (free[name], self._place(name)))
        chosen = set(ordered if room == math.inf else ordered[: max(0, int(room))])
        unwanted = {
            name
            for name, since in self._free_since.items()
            if name not in chosen and now - since >= UNWANTED_SECONDS
        }
        if unwanted - self._unwanted and self._offer_at == math.inf:
            self._offer_at = now + self._offer_after
            self._offer_after = min(2 * self._offer_after, LONGEST_OFFER_SECONDS)
        self._unwanted |= unwanted
        return chosen | unwanted

    def _place(self, name: str) -> int:
        """Return the place of a name in the order in which this runner prefers them.

        Each runner has another order, so that those who claim at once rarely meet.
        """
        return zlib.crc32(f"{self._runner_id} {name}".encode())

    def _lose(self, name: str) -> None:
        self._owned.discard(name)
        self._leaving.pop(name, None)
        self._unwanted.discard(name)
        self._listeners.on_lost(name)

    def _claim_all(self, names: Iterable[str]) -> None:
        wanted = sorted(names)
        if wanted:
            for name, found in self._claim(wanted).items():
                self._owned.add(name)
                self._listeners.on_claimed(name, found)
