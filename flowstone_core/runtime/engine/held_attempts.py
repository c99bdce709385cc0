"""Held attempts: those that this process has claimed, until they are over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from flowstone_core.errors import StoreError
from flowstone_core.model.engine import EngineSetup
from flowstone_core.model.materialization import Claim
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.engine.execution import Execution
from flowstone_core.runtime.engine.result_writer import publish

logger = logging.getLogger("flowstone.engine")

LOOK_SECONDS = 1.0
"""Seconds between two looks for attempts that were cancelled or taken over, or that wait."""

RECOVER_SECONDS = 10.0
"""Seconds between two recoveries of attempts that dead runners held."""


class HeldAttempts:
    """Executions of claimed attempts, and what becomes of them outside of this process.

    Args:
        setup: The setup of the engine.
    """

    def __init__(self, setup: EngineSetup) -> None:
        self._setup = setup
        self._held: dict[str, Execution] = {}
        self._begun = False
        self._recover_at = self._look_at = setup.clock.monotonic()

    def __len__(self) -> int:
        return len(self._held)

    def all(self) -> list[Execution]:
        """Return the executions, those that were claimed first first; any thread."""
        return list(self._held.values())

    def add(self, executions: Iterable[Execution]) -> None:
        """Hold the executions of new claims."""
        for execution in executions:
            self._held[execution.claim.token] = execution

    def remove(self, executions: Iterable[Execution]) -> None:
        """Hold executions no more; any thread."""
        for execution in executions:
            self._held.pop(execution.claim.token, None)

    def recover_soon(self) -> None:
        """Give back at the next `maintain` what the store says is held here, and is not."""
        self._recover_at = self._setup.clock.monotonic()

    def maintain(self) -> None:
        """Recover attempts of dead runners; cancel those that were lost; give back what waits.

        Raises:
            StoreError: If the store cannot be used.
        """
        setup = self._setup
        now = setup.clock.monotonic()
        held = dict(self._held)
        if not self._begun:
            setup.queue.requeue_waiting(setup.assets, setup.clock.now())
            self._begun = True
        if now >= self._recover_at:
            for materialization in setup.queue.recover(setup.clock.now(), setup.runner_id, held):
                publish(setup, materialization)
            self._recover_at = now + RECOVER_SECONDS
        if held and now >= self._look_at:
            for token in setup.queue.stale_tokens(held):
                held[token].cancel()
            self._give_back(list(held.values())[setup.threads :], now)
            self._look_at = now + LOOK_SECONDS

    def release(self, executions: Sequence[Execution]) -> None:
        """Give attempts back to the store, for another runner or for later."""
        self._hand_back(self._setup.queue.release, executions)

    def take_back(self, executions: Sequence[Execution]) -> None:
        """Give attempts back that never began, as if they had not been claimed."""
        self._hand_back(self._setup.queue.take_back, executions)

    def _hand_back(
        self,
        how: Callable[[Collection[Claim], datetime], None],
        executions: Sequence[Execution],
    ) -> None:
        if not executions:
            return
        try:
            how([execution.claim for execution in executions], self._setup.clock.now())
        except StoreError as error:
            logger.warning(
                "cannot release attempts; they are recovered when this runner's lease expires",
                extra={"attempts": len(executions), "error": describe(error, self._setup.redact)},
            )

    def _give_back(self, surplus: Iterable[Execution], now: float) -> None:
        """Give back attempts claimed ahead that have waited too long: other runners may be free."""
        late = [
            execution
            for execution in surplus
            if execution.claimed_at <= now - LOOK_SECONDS and execution.take_back()
        ]
        self.take_back(late)
        self.remove(late)
