"""..."""

from __future__ import annotations

import os
from pathlib import Path


def _anchored(store: str, folder: Path) -> str:
    """Let a relative SQLite file of a configuration stand beside it, wherever it is used from."""
    prefix = "sqlite:///"
    path = store.removeprefix(prefix)
    if path == store or not path or path.startswith((":memory:", "file:")):
        return store
    return prefix + os.path.normpath(folder / path)
