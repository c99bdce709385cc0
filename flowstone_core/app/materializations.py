"""Materializations of a project: request, list, retry and cancel them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from flowstone_core.app.lookup import unknown
from flowstone_core.config.project import Project
from flowstone_core.model.clock import Clock
from flowstone_core.model.partition import Partition, encode_partition, encode_value

if TYPE_CHECKING:
    from flowstone_core.model.event import StoredEvent
    from flowstone_core.model.json_document import JsonObject
    from flowstone_core.model.materialization import Attempt, Materialization, MaterializationState
    from flowstone_core.store import Store


class Materializations:
    """Stored materializations; `Flowstone.materializations`. Any thread may call its methods.

    Args:
        open_store: Returns the open store.
        project: The assets decide what a retry or a cancellation sets in motion.
        clock: Reads the time.
    """

    def __init__(self, open_store: Callable[[], Store], project: Project, clock: Clock) -> None:
        self._open_store = open_store
        self._project = project
        self._clock = clock

    def request(
        self, asset: str, partition: Partition, *, payload: JsonObject | None = None
    ) -> Materialization:
        """Request one partition of an asset; a runner materializes it.

        Args:
            asset: The asset.
            partition: The partition.
            payload: Passed to the asset function.

        Returns:
            A new materialization, or the pending one of the same partition.

        Raises:
            NotFoundError: If the asset is unknown.
            ValidationError: If the partition cannot be encoded.
            StoreUnavailableError: If the store is unavailable for longer than ``store_wait``.
        """
        declared = self._project.assets.get(asset)
        if declared is None:
            raise unknown("asset", asset, self._project.assets)
        from flowstone_core.runtime.coordination.store_wait import wait_for_store

        text = encode_partition(partition)
        key = uuid.uuid4().hex  # a repeated request whose first commit had no answer is the same

        def commit() -> Materialization:
            _, materialization = self._open_store().materializations.materialize(
                declared, text, self._project.assets, self._clock.now(), payload, key
            )
            return materialization

        return wait_for_store(commit, self._clock, self._project.run.store_wait)

    def latest(
        self,
        *,
        asset: str | None = None,
        partition: Partition | None = None,
        state: MaterializationState | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[Materialization]:
        """List the latest materializations, newest first.

        Args:
            asset: Only those of this asset.
            partition: Only those of this partition.
            state: Only those in this state.
            limit: At most this number of them.
            before_id: Only those with a smaller id: the next page.
        """
        text = None if partition is None else encode_value(partition)
        return self._open_store().materializations.latest(
            asset=asset, partition=text, state=state, limit=limit, before_id=before_id
        )

    def get(self, number: int) -> Materialization:
        """Return one materialization.

        Raises:
            NotFoundError: If no materialization has this number.
        """
        return self._open_store().materializations.get(number)

    def attempts(self, number: int) -> list[Attempt]:
        """List the attempts of a materialization in order."""
        return self._open_store().materializations.attempts(number)

    def events(self, number: int) -> list[StoredEvent]:
        """List the events that requested a materialization, oldest first."""
        return self._open_store().materializations.events(number)

    def retry(self, number: int) -> Materialization:
        """Run a discarded or cancelled materialization again, or a waiting one at once.

        Raises:
            NotFoundError: If no materialization has this number.
            ConflictError: If its state does not allow a retry.
        """
        return self._open_store().materializations.retry(
            number, self._project.assets, self._clock.now()
        )

    def cancel(self, number: int) -> Materialization:
        """Cancel a materialization that has not ended.

        A running asset function cannot be stopped; it sees ``context.cancelled``, and its return
        value is discarded.

        Raises:
            NotFoundError: If no materialization has this number.
            ConflictError: If it has ended.
        """
        return self._open_store().materializations.cancel(
            number, self._project.assets, self._clock.now()
        )[0]
