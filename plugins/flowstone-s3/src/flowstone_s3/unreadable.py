"""Keys without a partition: the error that tells the cause, and their summary for a tick."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstone_core import Skipped

_EXAMPLE_LIMIT = 300


class UnreadableKeyError(ValueError):
    """A key has no partition.

    Args:
        reason: The cause and the remedy, the same text for all keys with this cause.
        detail: Further facts about this key.
        absent: True if the key names no partition at all, so that a fallback may stand in; False
            if the key names a wrong one, or several.
    """

    def __init__(self, reason: str, detail: str = "", *, absent: bool = False) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.absent = absent


@dataclass(slots=True)
class SkippedKeys:
    """Summary of skipped keys: for each reason their number, and the first as an example."""

    _found: dict[str, Skipped] = field(default_factory=dict)

    def add(self, key: str, error: UnreadableKeyError) -> None:
        """Count a key."""
        before = self._found.get(error.reason)
        if before is None:
            self._found[error.reason] = Skipped(error.reason, 1, key_example(key, error))
        else:
            self._found[error.reason] = Skipped(before.reason, before.count + 1, before.example)

    def summary(self) -> list[Skipped]:
        """Return one `Skipped` for each reason."""
        return list(self._found.values())


def key_example(key: str, error: UnreadableKeyError) -> str:
    """Return a key and the facts of its error, to be shown."""
    return shown_key(key) + (f" ({error.detail})" if error.detail else "")


def shown_key(key: str) -> str:
    """Return a key as it is shown: quoted if it has line breaks or the like, cut if it is long."""
    shown = key if key.isprintable() else repr(key)
    return shown[:_EXAMPLE_LIMIT]
