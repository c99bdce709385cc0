"""Rows become events: one for each partition, with how many there are and from where to where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowstone_core import Event, Partition, encode_partition
from flowstone_db.errors import PartitionError
from flowstone_db.value import encode_value

if TYPE_CHECKING:
    from pydantic import JsonValue

_SHOWN = 3


@dataclass(slots=True)
class _Share:
    partition: Partition
    first: tuple[Any, ...]
    last: tuple[Any, ...]
    rows: int = 0


class Tally:
    """Counts rows by partition, however many they are.

    Args:
        names: The columns of the key.
        partition_of: From a row to its partition, or None to leave it out; it raises ValueError
            where it finds none.
    """

    def __init__(
        self,
        names: Sequence[str],
        partition_of: Callable[[Mapping[str, Any]], Partition | None],
    ) -> None:
        self._names = names
        self._partition_of = partition_of
        self._shares: dict[str, _Share] = {}
        self._homeless: list[str] = []
        self._failed = 0

    def add(self, key: tuple[Any, ...], row: Mapping[str, Any]) -> None:
        """Count a row; rows are added in the order of their keys."""
        try:
            partition = self._partition_of(row)
        except ValueError as error:
            self._failed += 1
            if self._failed <= _SHOWN:
                named = ", ".join(f"{n}={v}" for n, v in zip(self._names, key, strict=True))
                self._homeless.append(f"{named:.200}: {error}")
            return
        if partition is not None:
            text = encode_partition(partition)
            share = self._shares.setdefault(text, _Share(partition, key, key))
            share.rows += 1
            share.last = key

    def events(self) -> list[Event]:
        """Return the events, in the order in which their first rows came.

        Raises:
            PartitionError: If any row has no partition; it names the first few.
        """
        if self._failed:
            more = f"; and {self._failed - _SHOWN} more" if self._failed > _SHOWN else ""
            raise PartitionError(
                f"no partition for new rows: {'; '.join(self._homeless)}{more}",
                hint="say by partition_column or partition_fn which partition they belong to, or "
                "leave them out by a query; until then nothing is recorded",
            )
        return [
            Event(
                share.partition,
                payload={
                    "rows": share.rows,
                    "first": self._named(share.first),
                    "last": self._named(share.last),
                },
            )
            for share in self._shares.values()
        ]

    def _named(self, key: tuple[Any, ...]) -> dict[str, JsonValue]:
        return {name: encode_value(value) for name, value in zip(self._names, key, strict=True)}
