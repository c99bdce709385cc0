"""Maintenance of a store by its URL, and the installed plugins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from flowstone_core.config.file.reader import Config

if TYPE_CHECKING:
    from flowstone_core.model.clock import Clock
    from flowstone_core.plugin.registry import Plugins
    from flowstone_core.store import Backup, CopyProgress, IntegrityReport, StoreCopy


def store_exists(url: str) -> bool:
    """Return False if a store is an SQLite file that does not exist; nothing is created."""
    from flowstone_core.store import Store

    return Store.exists(url)


def display_url(url: str) -> str:
    """Return the URL of a store with its password masked.

    Raises:
        ValidationError: If the URL is invalid.
    """
    from flowstone_core.store import Store

    return Store.display(url)


def upgrade_store(url: str) -> tuple[str | None, str]:
    """Apply the missing migrations of a store.

    Returns:
        The schema's revision before (None for a new store) and after.

    Raises:
        StoreError: If the store is newer, foreign or corrupt; it is left unchanged.
    """
    from flowstone_core.store import Store

    return Store.upgrade(url)


def back_up_store(url: str, path: Path, *, overwrite: bool = False) -> Backup:
    """Copy an SQLite store to another file, beside running runners, without migrating it.

    Args:
        url: The store.
        path: The file; it appears when the copy is complete.
        overwrite: Replace an existing file.

    Raises:
        ConflictError: If the file exists and may not be overwritten.
        StoreError: If the store is missing or damaged, or the file cannot be written.
    """
    from flowstone_core.store import Store

    return Store.back_up(url, path, overwrite=overwrite)


def check_copy(source: str, target: str) -> None:
    """Check that a store exists and is another one than the target of its copy.

    Raises:
        ValidationError: If a URL is invalid.
        ConflictError: If both are the same.
        StoreError: If the source cannot be used.
    """
    from flowstone_core.store import Store

    Store.check_copy(source, target)


def copy_store(
    source: str,
    target: str,
    *,
    watch: Callable[[CopyProgress], object] = lambda _: None,
    clock: Clock | None = None,
) -> StoreCopy:
    """Copy a store to an empty one, of either kind of database: all of it, or nothing.

    Args:
        source: The store that is read; no runner may live on it.
        target: The store that is written; an SQLite file that does not exist is created.
        watch: Called with the progress.
        clock: Tells which leases of runners have ended.

    Raises:
        ValidationError: If a URL is invalid.
        ConflictError: If a runner lives on one of the stores, or the target is not empty.
        StoreError: If a store cannot be used, or a row cannot be kept by the target.
    """
    from flowstone_core.model.clock import SystemClock
    from flowstone_core.store import Store

    return Store.copy(source, target, (clock or SystemClock()).now(), watch)


def check_store(url: str) -> IntegrityReport:
    """Check the integrity of a store beside running runners, without migrating it.

    Raises:
        StoreError: If the store is missing, or too damaged to be read.
    """
    from flowstone_core.store import Store

    return Store.check(url)


def check_writable(url: str) -> None:
    """Check that a store takes writes, by one that changes nothing.

    Raises:
        StoreError: If the store only reads, is locked or full, or cannot be used.
    """
    from flowstone_core.store import Store

    with closing(Store.open(url)) as store:
        store.check_writable()


def installed_plugins(config: Config) -> Plugins:
    """Discover the installed plugins, even if the rest of a configuration is invalid.

    Distributions that are not in its list ``plugins`` are reported as blocked.
    """
    from flowstone_core.plugin.discovery import discover

    allowed = config.run.settings.get("plugins") if config.run is not None else None
    return discover(allow=None if allowed is None else allowed.value.split())
