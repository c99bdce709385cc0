"""Looking once a second at what operators and other runners did."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, TypeAlias

from flowstone_core.errors import StoreError, StoreLostError, StoreUnavailableError
from flowstone_core.model.clock import Clock
from flowstone_core.model.safe_text import describe
from flowstone_core.runtime.coordination.assignment import Assignment
from flowstone_core.runtime.coordination.store_outage import StoreOutage

logger = logging.getLogger("flowstone.roster")

LOOK_INTERVAL = 1.0
"""Seconds between looks at what operators and other runners did."""

TAKEOVER_LOOKS = 10
"""Every so many looks, those whose runner is not heard of any more are looked for too."""

AnyAssignment: TypeAlias = Assignment[Any]


class Reconciler:
    """Keeps the shares of a runner up to date.

    Args:
        shares: What it looks after.
        outage: Told when the store cannot be used.
        on_look: Called after each look of the thread.
    """

    def __init__(
        self,
        assignments: Sequence[AnyAssignment],
        clock: Clock,
        outage: StoreOutage,
        on_look: Callable[[], None],
    ) -> None:
        self._assignments = assignments
        self._outage = outage
        self._on_look = on_look
        self._looks = count(1)
        self._down = False
        self._stopping = False
        self._waker = clock.waker()
        self._thread = threading.Thread(target=self._run, name="flowstone-roster", daemon=True)

    def open(self) -> None:
        """Make known what is declared, and claim what is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        for assignment in self._assignments:
            assignment.open()

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._thread.start()

    def look(self) -> None:
        """Look once: say what is lost, claim what is free.

        Raises:
            StoreError: If the store cannot be used.
        """
        # What was claimed when a commit's answer was lost is this runner's, and it does not know.
        take_over = next(self._looks) % TAKEOVER_LOOKS == 0 or self._down
        for assignment in self._assignments:
            assignment.look(take_over=take_over)

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._waker.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping:
            self._waker.wait(LOOK_INTERVAL)
            try:
                self.look()
                self._down = False
            except (StoreUnavailableError, StoreLostError) as error:
                self._outage.begin(error)
                self._down = True
            except StoreError as error:
                if not self._down:  # once: a refusal lasts, while other things can be written
                    logger.error(  # noqa: TRY400 - the cause is in the text
                        "the store refuses to be looked at", extra={"error": describe(error)}
                    )
                self._down = True
            except Exception:
                logger.exception("the look at the store failed; the next one follows")
            self._on_look()
