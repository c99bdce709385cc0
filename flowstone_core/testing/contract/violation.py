"""Violation: an error of the contract, with its reason and its remedy."""

from __future__ import annotations

import textwrap
import traceback

from flowstone_core.model.safe_text import describe

_WIDTH = 96


class Violation(AssertionError):  # noqa: N818 - what is broken is the sensor
    """A sensor breaks the contract.

    Args:
        seen: The observation.
        why: Why it matters, in one sentence.
        remedy: The fix.
    """

    def __init__(self, seen: str, *, why: str, remedy: str) -> None:
        self.seen = seen
        parts = (("seen", seen), ("why it matters", why), ("what to do", remedy))
        super().__init__("\n".join(f"{name}: {_wrapped(text)}" for name, text in parts))


def told(error: BaseException) -> str:
    """Return an exception's description and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f", raised at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{describe(error)}{where}"


def _wrapped(text: str) -> str:
    lines = (
        textwrap.wrap(line, _WIDTH, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )
    return "\n    ".join(part for line in lines for part in line)
