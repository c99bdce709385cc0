"""Key filter: the settings ``suffix`` and ``glob``, and the predicate that they configure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import Annotated, TypeAlias

from pydantic import Field

Suffix: TypeAlias = Annotated[
    str, Field(description="only keys that end with this suffix count, such as .csv")
]
Glob: TypeAlias = Annotated[
    str | None,
    Field(
        min_length=1,
        description="only keys that match this pattern as a whole count; * and ? match slashes as "
        "well, case matters; [...] stands for one character, and [[] for a [",
    ),
]


def key_filter(suffix: str, glob: str | None) -> Callable[[str], bool]:
    """Return a predicate that is True for keys that pass ``suffix`` and ``glob``."""
    matches = re.compile(fnmatch.translate(glob or "*")).match
    return lambda key: key.endswith(suffix) and matches(key) is not None


def bracket_hint(glob: str | None) -> str:
    """Return how to write a ``[``, for a pattern that matches nothing; empty if it has none."""
    if "[" not in (glob or ""):
        return ""
    return "; in glob, [...] stands for one character, and [[] for a ["
