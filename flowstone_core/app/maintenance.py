"""..."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowstone_core.config.file.reader import Config

if TYPE_CHECKING:
    from flowstone_core.plugin.registry import Plugins
    from flowstone_core.store import Backup, IntegrityReport


def upgrade_store(url: str) -> tuple[str | None, str]:
    """Apply the store's migrations.

    Returns:
        The schema's revision before (None for a new store) and after.

    Raises:
        StoreError: If the store is newer, foreign or corrupt; it is left as it is.
    """
    from flowstone_core.store import Store

    return Store.upgrade(url)


def back_up_store(url: str, path: Path, *, overwrite: bool = False) -> Backup:
    """Copy a store in an SQLite file to another file, while runners use it; it is not migrated.

    Args:
        url: The store.
        path: The file; it appears when the copy is whole.
        overwrite: Whether to replace the file if it is there.

    Raises:
        ConflictError: If the file is there and may not be overwritten.
        StoreError: If there is no store, it is damaged, or the file cannot be made.
    """
    from flowstone_core.store import Store

    return Store.back_up(url, path, overwrite=overwrite)


def check_store(url: str) -> IntegrityReport:
    """Look whether a store is whole and fits together, while runners use it; not migrated.

    Raises:
        StoreError: If there is no store, or it is damaged so badly that it cannot be read.
    """
    from flowstone_core.store import Store

    return Store.check(url)


def installed_plugins(config: Config) -> Plugins:
    """Find what is installed, whether or not the rest of a configuration is right.

    Distributions that its list of ``plugins`` leaves out are reported as blocked.
    """
    from flowstone_core.plugin.discovery import discover

    allowed = config.run.settings.get("plugins") if config.run is not None else None
    return discover(allow=None if allowed is None else allowed.value.split())
