"""The store: opens, upgrades, backs up and checks the database, and holds the repositories."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

from flowstone_core.errors import StoreLostError
from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.clock import Clock, SystemClock
from flowstone_core.store import (
    backup,
    integrity,
    migration,
    sqlite_file,
    statements,
    store_copy,
    write_probe,
)
from flowstone_core.store.backfills import BackfillRepository
from flowstone_core.store.backup import Backup
from flowstone_core.store.database import Database
from flowstone_core.store.engine_queue import EngineQueue
from flowstone_core.store.events import EventRepository
from flowstone_core.store.integrity import IntegrityReport
from flowstone_core.store.materializations import MaterializationRepository
from flowstone_core.store.peers import PeerRepository
from flowstone_core.store.pruning import Pruning
from flowstone_core.store.runners import RunnerRepository
from flowstone_core.store.schedules import ScheduleRepository
from flowstone_core.store.sensors import SensorRepository
from flowstone_core.store.session_lock import SessionLock
from flowstone_core.store.skips import SkipRepository
from flowstone_core.store.store_copy import CopyProgress, StoreCopy
from flowstone_core.store.store_url import masked, parse_url
from flowstone_core.store.survey import Survey, survey
from flowstone_core.store.ticks import TickRepository
from flowstone_core.store.wake_up import CommitListener

logger = logging.getLogger("flowstone.store")


class Store:
    """FlowStone's tables in one database: one repository for each noun.

    The methods of the repositories raise `StoreUnavailableError` if the database cannot be used
    at the moment, and `StoreError` if the database refuses the statement.

    Args:
        database: An open database with the newest schema, as `open` returns it.

    Attributes:
        runners: The processes and their leases.
        peers: Those that have not stopped, as another one sees them.
        sensors: Sensors, their checkpoints and owners.
        schedules: Schedules, their declarations, edits, checkpoints and owners.
        skips: The instants for which a schedule fired nothing.
        ticks: Commits of ticks, and their history.
        events: The events of all sources.
        materializations: Materializations and their attempts.
        backfills: Backfills and the states of their partitions.
        queue: The `MaterializationQueue` of engines.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.runners = RunnerRepository(database)
        self.peers = PeerRepository(database)
        self.sensors = SensorRepository(database)
        self.schedules = ScheduleRepository(database)
        self.skips = SkipRepository(database)
        self.ticks = TickRepository(database)
        self.events = EventRepository(database)
        self.materializations = MaterializationRepository(database)
        self.backfills = BackfillRepository(database)
        self.queue = EngineQueue(database)

    @classmethod
    def open(cls, url: str, *, migrate: bool | None = None) -> Store:
        """Open a store.

        Args:
            url: ``sqlite:///path``, ``sqlite://`` for one in memory, or ``postgresql://...``.
            migrate: Create or upgrade the schema; None does so for SQLite only.

        Raises:
            ValidationError: If the URL is invalid, or its database is not supported.
            StoreError: If the store is newer, foreign, damaged, behind (on PostgreSQL), not
                writable, or its driver is missing; the store was not changed.
        """
        database = Database(parse_url(url))
        try:
            migration.prepare(database, migrate=migrate)
            database.check_file()
            _warn_of_network(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @staticmethod
    def upgrade(url: str) -> tuple[str | None, str]:
        """Apply the migrations that are missing.

        Returns:
            The schema's revision before (None for a new store) and after.

        Raises:
            ValidationError: As for `open`.
            StoreError: If the store is newer, foreign or damaged; the store was not changed.
        """
        database = Database(parse_url(url))
        try:
            return migration.upgrade(database)
        finally:
            database.close()

    @staticmethod
    def exists(url: str) -> bool:
        """Return False if a store is an SQLite file that does not exist.

        Raises:
            ValidationError: As for `open`.
        """
        with closing(Database(parse_url(url))) as database:
            return database.file is None or database.file.exists()

    @staticmethod
    def back_up(url: str, path: Path, *, overwrite: bool = False) -> Backup:
        """Copy a store in an SQLite file to another file, while it is in use.

        Raises:
            ValidationError: As for `open`.
            ConflictError: If the file exists and may not be overwritten.
            StoreError: If there is no store, the store is damaged, or the file cannot be written.
        """
        with closing(Database(parse_url(url))) as database:
            return backup.back_up(database, path, overwrite=overwrite)

    @staticmethod
    def check(url: str) -> IntegrityReport:
        """Check the integrity of a store, while it is in use.

        Raises:
            ValidationError: As for `open`.
            StoreError: If there is no store, or the store cannot be read.
        """
        with closing(Database(parse_url(url))) as database:
            return integrity.check(database)

    @staticmethod
    def display(url: str) -> str:
        """Return a store's URL with its password masked.

        Raises:
            ValidationError: As for `open`.
        """
        return masked(parse_url(url))

    @staticmethod
    def check_copy(source: str, target: str) -> None:
        """Check that a store can be copied to another one; nothing is written.

        Raises:
            ValidationError: As for `open`, of either URL.
            ConflictError: If both are the same.
            StoreError: If the source cannot be used.
        """
        with (
            closing(Database(parse_url(source))) as read,
            closing(Database(parse_url(target))) as written,
        ):
            store_copy.refuse(read, written)

    @staticmethod
    def copy(
        source: str, target: str, now: datetime, watch: Callable[[CopyProgress], object]
    ) -> StoreCopy:
        """Copy a store to an empty one, of either kind of database; see `store_copy.copy`.

        Raises:
            ValidationError: As for `open`, of either URL.
            ConflictError: If a runner lives on one of the stores, or the target is not empty.
            StoreError: If a store cannot be used, or a row cannot be kept.
        """
        with (
            closing(Database(parse_url(source))) as read,
            closing(Database(parse_url(target))) as written,
        ):
            return store_copy.copy(read, written, now, watch)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def now(self) -> datetime | None:
        """Return the time of the database; None for SQLite, which has none but the machine's."""
        return self._database.read(statements.database_time)

    def session_lock(self, runner_id: str) -> SessionLock | None:
        """Return the session lock of a runner, not yet held; None for SQLite, which has none."""
        return None if self._database.is_sqlite else SessionLock(self._database, runner_id)

    def survey(self, runner_id: str, now: datetime) -> Survey:
        """Return all that a runner reads each second: its peers, and what is owned or free."""
        return self._database.read(survey, runner_id, now)

    def when_lost(self, call: Callable[[StoreLostError], None]) -> None:
        """Set the function to call when the store's file is found to be missing or damaged.

        The function is called in the thread that finds it, before the error is raised there. A
        later call replaces the function.
        """
        self._database.on_lost = call

    def listen(self, assets: AssetGraph) -> CommitListener | None:
        """Return a listener for what other processes commit; None for a store in memory.

        Args:
            assets: The assets whose materializations the runner may start.

        Raises:
            StoreUnavailableError: If the store cannot be used at the moment.
        """
        return self._database.listen(assets)

    def check_writable(self) -> None:
        """Check that the ticks of a runner can be committed; nothing is changed.

        Raises:
            StoreError: If the store only reads, is locked or full, or lacks a table or a right.
        """
        write_probe.check_writable(self._database)

    @property
    def url(self) -> str:
        """The store's URL, with its password masked."""
        return self._database.display

    def pruning(self, clock: Clock | None = None, *, dry_run: bool = False) -> Pruning:
        """Return the deletion of old history, which runs in many transactions.

        Args:
            clock: Measures the transactions, to keep them short; by default the machine's.
            dry_run: Count what would be deleted, and delete nothing.
        """
        return Pruning(self._database, clock or SystemClock(), dry_run=dry_run)


def _warn_of_network(database: Database) -> None:
    kind = None if database.file is None else sqlite_file.remote_kind(database.file)
    if kind is not None:
        logger.warning(
            "the store is on a network file system, where SQLite may be corrupted: "
            "put it on a local disk, or use PostgreSQL",
            extra={"store": database.display, "file_system": kind},
        )
