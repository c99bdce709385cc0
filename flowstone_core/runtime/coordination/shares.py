"""Shares: how many sensors and schedules each of several runners may own.

Each runner computes its quota alone, from the runners that live and from what each of them is able
to tick. A sensor that three runners are able to tick counts as a third in the quota of each.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping

from flowstone_core.runtime.coordination.tickable import Tickable
from flowstone_core.store import Peer, Store


class Shares:
    """Shares of the living runners.

    Args:
        store: The store: it has the names of what the other runners are able to tick.
        runner_id: This runner.

    Attributes:
        changed: True if the last `update` found other runners than the one before.
    """

    def __init__(self, store: Store, runner_id: str) -> None:
        self._store = store
        self._runner_id = runner_id
        self._roster: dict[str, str | None] = {}
        self._known: dict[str, Tickable | None] = {}
        self._others: list[Tickable] = []
        self._same = 1
        self.changed = False

    def update(self, peers: Collection[Peer]) -> None:
        """Take over the runners that live; read what those are able to tick that are new.

        Raises:
            StoreError: If the store cannot be used.
        """
        roster = {each.id: each.workload for each in peers if each.ticks and each.gone is None}
        self.changed = roster != self._roster
        if not self.changed:
            return
        mine = roster.get(self._runner_id)
        different = {
            runner: digest
            for runner, digest in roster.items()
            if None not in (mine, digest) and digest != mine
        }
        unknown = {each: found for each, found in different.items() if found not in self._known}
        if unknown:
            loaded = self._store.runners.loaded_by(unknown)
            for runner, digest in unknown.items():
                self._known[str(digest)] = _parse(loaded.get(runner))
        # Those of runners that are gone are forgotten.
        self._known = {str(digest): self._known[str(digest)] for digest in different.values()}
        found = [self._known[str(digest)] for digest in different.values()]
        self._others = [each for each in found if each is not None]
        # A runner of an older version tells nothing: it is taken for one like this.
        self._same = max(1, len(roster) - len(self._others))
        self._roster = roster

    def candidates(self, kind: str, name: str, asset: str | None) -> int:
        """Return the number of living runners that are able to tick a sensor or a schedule."""
        return self._same + sum(each.has(kind, name, asset) for each in self._others)

    def quota(self, kind: str, tickable: Mapping[str, str | None]) -> int:
        """Return how many this runner may own of those that it is able to tick.

        Args:
            kind: ``sensor`` or ``schedule``.
            tickable: By name: the asset of a schedule that nothing declares, else None.
        """
        if not self._others:
            return math.ceil(len(tickable) / self._same)
        counts = Counter(self.candidates(kind, name, asset) for name, asset in tickable.items())
        return math.ceil(sum(count / among for among, count in counts.items()) - 1e-9)


def _parse(loaded: str | None) -> Tickable | None:
    try:
        found = json.loads(loaded or "")["tickable"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return Tickable.parse(found) if isinstance(found, dict) else None
