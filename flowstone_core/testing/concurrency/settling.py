"""Letting everything come to its end after the threads of the harness."""

from __future__ import annotations

from datetime import timedelta

from flowstone_core.model.clock import SystemClock
from flowstone_core.testing.concurrency.invariants import Invariants
from flowstone_core.testing.concurrency.operations import Hands

_ROUNDS = 40
_FIRST, _LONGEST = timedelta(minutes=1), timedelta(hours=1)


def come_to_rest(hands: Hands, invariants: Invariants, patience: float) -> bool:
    """Resume everything, and run until nothing more is found or materialized.

    A change that was not found is waited for: a sensor may leave alone what is young.

    Args:
        patience: Seconds of real time for all of it.

    Returns:
        True if it came to rest.
    """
    hands.recorder.failing, hands.recorder.stalling = 0.0, False
    flow = hands.flows[0]
    for name in hands.sensors:
        flow.sensors.resume(name)
    for name in hands.schedules:
        flow.schedules.resume(name)
    real = SystemClock()
    end = real.monotonic() + patience
    wait, before, idle = _FIRST, -1, 0
    for _ in range(_ROUNDS):
        hands.tick(0)
        found = invariants.found()
        calm = found == before and not invariants.unrest()
        idle = idle + 1 if calm else 0
        unseen = invariants.unseen()
        if (idle > 1 and not unseen) or real.monotonic() > end:
            break
        before = found
        hands.clock.advance(wait)
        # No longer than it takes: a schedule fires for all of that time.
        wait = min(wait * 2, _LONGEST) if unseen or invariants.failing() else _FIRST
    return idle > 1
