"""Plan of a backfill: what it would do for each partition."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flowstone_core.model.chunking import chunks
from flowstone_core.runtime.backfill.backfill import BackfillRequest
from flowstone_core.store import BackfillRepository, PartitionState


class PartitionAction(StrEnum):
    """Action of a backfill for a partition."""

    MATERIALIZE = "materialize"
    """Ask for its materialization."""
    WAIT = "wait"
    """Wait for its unfinished materialization."""
    SKIP = "skip"
    """Do nothing: it is completed, or this backfill asked for it before and it has ended."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Plan of a backfill.

    Attributes:
        resumes: The number of the unfinished backfill that it would continue; None if there is
            none.
        actions: The action for each partition, by its text, in the order of the range.
    """

    resumes: int | None
    actions: dict[str, PartitionAction]

    def count(self, action: PartitionAction) -> int:
        """Return the number of partitions with an action."""
        return sum(each is action for each in self.actions.values())


def plan(request: BackfillRequest, store: BackfillRepository) -> Plan:
    """Return the plan of a backfill as of now; nothing is written.

    Raises:
        StoreError: If the store cannot be used.
    """
    record = store.unfinished(*request.identity, force=request.force)
    actions: dict[str, PartitionAction] = {}
    for chunk in chunks(request.texts()):
        found = store.partition_states(request.asset, chunk, force=request.force, backfill=record)
        actions |= {text: _action(standing) for text, standing in found.items()}
    return Plan(None if record is None else record.id, actions)


def _action(standing: PartitionState) -> PartitionAction:
    if standing.missing:
        return PartitionAction.MATERIALIZE
    state = standing.state
    if state is None:
        return PartitionAction.SKIP if standing.completed else PartitionAction.WAIT
    return PartitionAction.SKIP if state.ended else PartitionAction.WAIT
