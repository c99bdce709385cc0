"""Skipped items of a sensor's tick: checked, merged by reason, and safe to store and to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from flowstone_core.errors import OutcomeError
from flowstone_core.model.event import Skipped
from flowstone_core.model.json_document import dump_document, load_document
from flowstone_core.model.safe_text import printable

MOST_REASONS = 20
"""Reasons of one tick that are kept apart; the others are counted together."""

MOST_ITEMS = 2**31 - 1
"""Largest count, that of an integer column; a larger one is stored as this."""

_TEXT_LIMIT = 300
_OTHER_REASONS = "other reasons"


def skipped_items(skipped: Sequence[object], redact: Callable[[str], str]) -> tuple[Skipped, ...]:
    """Return the items that an outcome leaves out, merged by reason, in the order of the reasons.

    Args:
        skipped: The ``skipped`` of an outcome; may hold anything.
        redact: Hides secrets in reasons and examples.

    Raises:
        OutcomeError: If a value is not a `Skipped` with a reason and a count.
    """
    if skipped == ():
        return ()
    merged: dict[str, Skipped] = {}
    for item in skipped:
        reason, count, example = _checked(item)
        # The reason itself, not its redacted text, is compared: it is the cheaper.
        key = reason if reason in merged or len(merged) < MOST_REASONS else _OTHER_REASONS
        before = merged.get(key)
        if before is None:
            merged[key] = Skipped(key, count, example)
        else:
            total = min(before.count + count, MOST_ITEMS)
            merged[key] = Skipped(key, total, before.example or example)
    return tuple(
        Skipped(_safe(item.reason, redact), item.count, _safe(item.example, redact))
        for item in merged.values()
    )


def dump_skipped(skipped: Sequence[Skipped]) -> str | None:
    """Return the JSON text of skipped items for the store; None if there are none."""
    if not skipped:
        return None
    rows = [asdict(item) for item in skipped]
    return dump_document(rows, what="the skipped items", limit=2**20)


def load_skipped(text: str | None) -> tuple[Skipped, ...]:
    """Parse text of `dump_skipped`."""
    rows = load_document(text) if text else []
    return tuple(Skipped(**row) for row in rows)  # type: ignore[arg-type,union-attr]  # our own


def count_skipped(skipped: Sequence[Skipped]) -> int:
    """Return the number of items, as far as a column can hold it."""
    return min(sum(item.count for item in skipped), MOST_ITEMS)


def safe_reason(reason: object, redact: Callable[[str], str]) -> str:
    """Return the safe text of the reason why nothing fires.

    Raises:
        OutcomeError: If the reason is not a text.
    """
    if not isinstance(reason, str):
        raise OutcomeError(f"the reason of NotTriggered must be a text, not {reason!r:.80}")
    text = str.__str__(reason)
    return _safe(text, redact) if text else ""


def _checked(item: object) -> tuple[str, int, str]:
    if not isinstance(item, Skipped):
        kind = type(item).__qualname__
        raise OutcomeError(f"skipped must hold Skipped(reason, count, example), not {kind}")
    if not isinstance(item.reason, str) or not item.reason.strip():
        raise OutcomeError(f"the reason of Skipped must be a text, not {item.reason!r:.80}")
    if not isinstance(item.example, str):
        raise OutcomeError(f"the example of Skipped must be a text, not {item.example!r:.80}")
    if type(item.count) is not int or item.count < 1:
        raise OutcomeError(f"the count of Skipped must be at least 1, not {item.count!r:.80}")
    # A subclass of str may have methods that do anything.
    reason, example = str.__str__(item.reason), str.__str__(item.example)
    return reason, min(item.count, MOST_ITEMS), example


def _safe(text: str, redact: Callable[[str], str]) -> str:
    return printable(redact(text), _TEXT_LIMIT).replace("\n", r"\n").replace("\t", r"\t")
