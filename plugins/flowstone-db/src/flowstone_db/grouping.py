"""Events of rows: one per partition, with the number of rows and the first and last key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowstone_core import Event, Partition, Skipped, encode_partition
from flowstone_db.errors import PartitionError
from flowstone_db.value import encode_value

if TYPE_CHECKING:
    from pydantic import JsonValue

_SHOWN = 3


@dataclass(slots=True)
class _Group:
    partition: Partition
    first: tuple[Any, ...]
    last: tuple[Any, ...]
    rows: int = 0


class RowGroups:
    """Rows grouped by partition; memory grows with the partitions, not with the rows.

    Args:
        names: The columns of the key.
        partition_of: Maps a row to its partition, or to None to leave the row out; raises
            ValueError for a row without a partition.
    """

    def __init__(
        self,
        names: Sequence[str],
        partition_of: Callable[[Mapping[str, Any]], Partition | None],
    ) -> None:
        self._names = names
        self._partition_of = partition_of
        self._groups: dict[str, _Group] = {}
        self._unassigned: list[str] = []
        self._failed = 0

    def add(self, key: tuple[Any, ...], row: Mapping[str, Any]) -> None:
        """Add a row; rows must be added in the order of their keys."""
        try:
            partition = self._partition_of(row)
        except ValueError as error:
            self._failed += 1
            if self._failed <= _SHOWN:
                named = ", ".join(f"{n}={v}" for n, v in zip(self._names, key, strict=True))
                self._unassigned.append(f"{named:.200}: {error}")
            return
        if partition is not None:
            text = encode_partition(partition)
            group = self._groups.setdefault(text, _Group(partition, key, key))
            group.rows += 1
            group.last = key

    def skipped(self) -> list[Skipped]:
        """Return the report of rows without a partition, which are left out."""
        if not self._failed:
            return []
        return [Skipped("row without a partition", self._failed, self._unassigned[0])]

    def check(self) -> None:
        """Check that each row has a partition.

        Raises:
            PartitionError: If a row has none; the message names the first three.
        """
        if self._failed:
            more = f"; and {self._failed - _SHOWN} more" if self._failed > _SHOWN else ""
            raise PartitionError(
                f"no partition for new rows: {'; '.join(self._unassigned)}{more}",
                hint="set partition_column or partition_fn to find their partition, or leave them "
                "out with a query or unreadable_rows = skip; until then no row is recorded",
            )

    def events(self) -> list[Event]:
        """Return the events, in the order of their first rows."""
        return [
            Event(
                group.partition,
                payload={
                    "rows": group.rows,
                    "first": self._named(group.first),
                    "last": self._named(group.last),
                },
            )
            for group in self._groups.values()
        ]

    def _named(self, key: tuple[Any, ...]) -> dict[str, JsonValue]:
        return {name: encode_value(value) for name, value in zip(self._names, key, strict=True)}
