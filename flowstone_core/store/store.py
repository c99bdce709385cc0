"""The facade: every method is one transaction, and may be called from any thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from flowstone_core.errors import StaleTickError, StoreLostError
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.engine import ClaimRound, RunnerInfo
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.json_document import JsonObject
from flowstone_core.model.materialization import (
    Attempt,
    Claim,
    Materialization,
    MaterializationState,
)
from flowstone_core.model.tick import SensorCheckpoint, Skip, Tick, TickCommit
from flowstone_core.scheduling.schedule import ScheduleSpec
from flowstone_core.store import (
    attempts,
    backup,
    claims,
    enqueueing,
    events,
    integrity,
    materializations,
    migration,
    overlap_queue,
    runners,
    schedules,
    sensors,
    sqlite_file,
    ticks,
)
from flowstone_core.store.backfills import Backfills
from flowstone_core.store.backup import Backup
from flowstone_core.store.database import Database, parse_url
from flowstone_core.store.integrity import IntegrityReport
from flowstone_core.store.pruning import Pruning
from flowstone_core.store.schedules import DeclaredSchedule, ScheduleRecord, StoredSkip
from flowstone_core.store.sensors import SensorRecord
from flowstone_core.store.ticks import Commit, TickResult

logger = logging.getLogger("flowstone.store")


class Store:
    """All that FlowStone remembers; also the `MaterializationQueue` of engines.

    Every method may raise `StoreUnavailableError`, when the database cannot be used at the
    moment, and `StoreError`, when it refuses.

    Args:
        database: An open database with the newest schema; `open` makes one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, migrate: bool | None = None) -> Store:
        """Open a store.

        Args:
            url: ``sqlite:///path``, ``sqlite://`` for one in memory, or ``postgresql://...``.
            migrate: Whether to make or upgrade the schema. None does it for SQLite only.

        Raises:
            ValidationError: If the URL is none, or names a database that is not supported.
            StoreError: If the store is newer, foreign, damaged, behind (on PostgreSQL), not
                writable, or its driver is missing; it is left as it was.
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
            StoreError: If the store is newer, foreign or damaged; it is left as it was.
        """
        database = Database(parse_url(url))
        try:
            return migration.upgrade(database)
        finally:
            database.close()

    @staticmethod
    def back_up(url: str, path: Path, *, overwrite: bool = False) -> Backup:
        """Copy a store in an SQLite file to another file, while others use it.

        Raises:
            ValidationError: As for `open`.
            ConflictError: If the file is there and may not be overwritten, or never may be.
            StoreError: If there is no store, it is damaged, or the file cannot be made.
        """
        with closing(Database(parse_url(url))) as database:
            return backup.back_up(database, path, overwrite=overwrite)

    @staticmethod
    def check(url: str) -> IntegrityReport:
        """Look whether a store is whole and fits together, while others use it.

        Raises:
            ValidationError: As for `open`.
            StoreError: If there is no store, or it is damaged so badly that it cannot be read.
        """
        with closing(Database(parse_url(url))) as database:
            return integrity.check(database)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def when_lost(self, call: Callable[[StoreLostError], None]) -> None:
        """Have a function called when the store's file is found to be gone or damaged.

        In whichever thread finds it, before the error is raised there. The last one given counts.
        """
        self._database.on_lost = call

    @property
    def url(self) -> str:
        """The store's URL, its password masked."""
        return self._database.display

    # -- runners ---------------------------------------------------------------------------------

    def register_runner(self, info: RunnerInfo) -> None:
        """Make a runner known, or begin one anew that was taken for dead."""
        self._database.write(runners.register, info)

    def renew_runner(self, runner_id: str, lease_until: datetime, stuck_threads: int = 0) -> bool:
        """Extend a runner's lease; False if it is not known or has stopped."""
        return self._database.write(runners.renew, runner_id, lease_until, stuck_threads)

    def stop_runner(self, runner_id: str, now: datetime) -> None:
        """Mark a runner as stopped and free its sensors and schedules."""
        self._database.write(runners.stop, runner_id, now)

    def runners(
        self, machine: str | None = None, alive_at: datetime | None = None
    ) -> list[RunnerInfo]:
        """List runners in the order of their starts.

        Args:
            machine: Only those of this machine.
            alive_at: Only those that are alive at this moment.
        """
        return self._database.read(runners.find, machine, alive_at)

    # -- sensors ---------------------------------------------------------------------------------

    def declare_sensors(self, names: Iterable[str], now: datetime) -> None:
        """Make sensors known; writes nothing if they all are."""
        missing = self._database.read(sensors.missing, names)
        if missing:
            self._database.write(sensors.declare, missing, now)

    def claim_sensors(
        self, runner_id: str, names: Iterable[str], now: datetime
    ) -> dict[str, SensorCheckpoint]:
        """Make a runner the owner of those of the sensors that are free.

        Free is what is not paused, and is owned by no runner, by one that is not alive, or by
        this one already. Writes nothing if none is.

        Returns:
            What each one that is now the runner's remembers, by name.
        """
        free = self._database.read(sensors.claimable, runner_id, names, now)
        return self._database.write(sensors.claim, runner_id, free, now) if free else {}

    def unowned_sensors(self) -> set[str]:
        """Return the names of the sensors that no runner owns, paused ones among them."""
        return self._database.read(sensors.unowned)

    def sensors(self, names: Collection[str] | None = None) -> list[SensorRecord]:
        """List sensors by name; all, or those of the names that there are."""
        return self._database.read(sensors.find, names)

    def sensor(self, name: str) -> SensorRecord:
        """Return one sensor.

        Raises:
            NotFoundError: If the store has not heard of it.
        """
        return self._database.read(sensors.get, name)

    def pause_sensor(self, name: str, now: datetime) -> SensorRecord:  # noqa: ARG002 - for a record
        """Have a sensor polled no more; its runner's next commit is refused.

        Raises:
            NotFoundError: If the store has not heard of it.
        """
        return self._database.write(sensors.set_paused, name, paused=True)

    def resume_sensor(self, name: str, now: datetime) -> SensorRecord:  # noqa: ARG002
        """Have a paused sensor polled again, from what it remembers.

        Raises:
            NotFoundError: If the store has not heard of it.
        """
        return self._database.write(sensors.set_paused, name, paused=False)

    def mark_stale(self, name: str, owner: str, since: datetime) -> bool:
        """Keep since when a sensor has had no good poll, until it has one.

        Returns:
            False if it is not the owner's any more, or is marked already: nothing was written.
        """
        return self._database.write(sensors.mark_stale, name, owner, since)

    def reset_sensor(
        self,
        name: str,
        now: datetime,  # noqa: ARG002
        forget_keys: bool = False,  # noqa: FBT001, FBT002 - callers name it
    ) -> SensorRecord:
        """Have a sensor begin with its first state again.

        Args:
            name: The sensor.
            now: When.
            forget_keys: Let it use again the keys of events that it has had; these are kept.

        Raises:
            NotFoundError: If the store has not heard of it.
        """
        return self._database.write(sensors.reset, name, forget_keys=forget_keys)

    # -- schedules -------------------------------------------------------------------------------

    def declare_schedules(
        self, declared: Collection[DeclaredSchedule], now: datetime
    ) -> Sequence[DeclaredSchedule]:
        """Take over what files and pipelines say of schedules; writes nothing if it is known.

        What was said at run time stays over it. A schedule whose times change begins at ``now``.

        Returns:
            Those that were not known as they are.
        """
        changed = self._database.read(schedules.changed, declared)
        if changed:
            self._database.write(schedules.declare, changed, now)
        return changed

    def create_schedule(self, name: str, given: ScheduleSpec, now: datetime) -> ScheduleRecord:
        """Write a schedule that no file and no pipeline declares; it begins at ``now``.

        Raises:
            ConflictError: If there is one of this name.
        """
        return self._database.write(schedules.create, name, given, now)

    def edit_schedule(
        self,
        name: str,
        version: int,
        edits: ScheduleSpec | None,
        skips: Sequence[Skip],
        now: datetime,
    ) -> ScheduleRecord | None:
        """Replace all that was said of a schedule at run time.

        Args:
            version: As it was when the edit was worked out.
            edits: None for nothing any more.
            skips: What is skipped if its times change; it then begins at ``now``.

        Returns:
            The schedule; None if it has changed since: nothing was written.

        Raises:
            NotFoundError: If there is none of this name.
        """
        return self._database.write(schedules.edit, name, version, edits, skips, now)

    def remove_schedule(self, name: str) -> None:
        """Delete a schedule; its ticks, events and skips stay.

        Raises:
            NotFoundError: If there is none of this name.
        """
        self._database.write(schedules.remove, name)

    def pause_schedule(self, name: str) -> ScheduleRecord:
        """Have a schedule fire no more; its runner's next commit is refused.

        Raises:
            NotFoundError: If there is none of this name.
        """
        return self._database.write(schedules.pause, name)

    def resume_schedule(
        self, name: str, version: int, skips: Sequence[Skip], now: datetime
    ) -> ScheduleRecord | None:
        """Have a paused schedule fire again, for what comes after ``now``.

        Args:
            version: As it was when the skips were worked out.
            skips: What it skipped while it was paused.

        Returns:
            The schedule; None if it has changed since: nothing was written.

        Raises:
            NotFoundError: If there is none of this name.
        """
        return self._database.write(schedules.resume, name, version, skips, now)

    def claim_schedules(
        self, runner_id: str, names: Iterable[str], now: datetime
    ) -> dict[str, ScheduleRecord]:
        """Make a runner the owner of those of the schedules that are free, as with sensors."""
        return self._database.write(schedules.claim, runner_id, names, now)

    def unowned_schedules(
        self, runner_id: str, taken_over_at: datetime | None = None
    ) -> dict[str, str | None]:
        """Return the schedules that no runner owns, paused ones among them.

        Args:
            runner_id: Who asks.
            taken_over_at: Also those of runners that are not alive then; None for none of them.

        Returns:
            By name: the asset of one that is declared nowhere, None for one that is declared.
        """
        return self._database.read(schedules.unowned, runner_id, taken_over_at)

    def schedules(self, names: Collection[str] | None = None) -> list[ScheduleRecord]:
        """List schedules by name; all, or those of the names that there are."""
        return self._database.read(schedules.find, names)

    def schedule(self, name: str) -> ScheduleRecord:
        """Return one schedule.

        Raises:
            NotFoundError: If there is none of this name.
        """
        return self._database.read(schedules.get, name)

    def skips(
        self, schedule: str | None = None, limit: int = 50, before_id: int | None = None
    ) -> list[StoredSkip]:
        """List what schedules skipped, the latest first."""
        return self._database.read(schedules.skips, schedule, limit, before_id)

    def active_of(self, source: str, limit: int = 2) -> int:
        """Count what a source asked for lately and has not ended, up to ``limit``."""
        return self._database.read(overlap_queue.active, source, limit)

    # -- ticks and events ------------------------------------------------------------------------

    def commit_ticks(
        self, owner: str, commits: Sequence[Commit], assets: AssetGraph, now: datetime
    ) -> list[TickResult]:
        """Commit what ticks amount to, in one transaction: all that are not stale, or none.

        A tick is stale if its sensor or schedule is not the owner's any more, is paused, or has
        another version than when the tick began; nothing of it is written.

        Returns:
            One result for each commit, in their order.
        """
        return self._database.write(ticks.commit, owner, commits, assets, now)

    def commit_tick(
        self, owner: str, commit: TickCommit, assets: AssetGraph, now: datetime
    ) -> TickResult:
        """Commit one tick.

        Raises:
            StaleTickError: If it is stale; nothing was written.
        """
        (result,) = self.commit_ticks(owner, [commit], assets, now)
        if not result.committed:
            raise StaleTickError(
                f"sensor {commit.sensor!r} was changed since its tick began; nothing was written",
                sensor=commit.sensor,
            )
        return result

    def ticks(
        self, source: str | None = None, limit: int = 50, before_id: int | None = None
    ) -> list[Tick]:
        """List the ticks that were not quiet, newest first."""
        return self._database.read(ticks.find, source, limit, before_id)

    def events(
        self,
        source: str | None = None,
        asset: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[StoredEvent]:
        """List events, newest first."""
        return self._database.read(events.find, source, asset, limit, before_id)

    # -- materializations ------------------------------------------------------------------------

    def materialize(
        self,
        asset: Asset,
        partition: str,
        assets: AssetGraph,
        now: datetime,
        payload: JsonObject | None = None,
    ) -> tuple[StoredEvent, Materialization]:
        """Ask by hand for one partition to be made; it joins one that is pending.

        Raises:
            ValidationError: If the payload is not JSON, or too large.
        """
        return self._database.write(
            materializations.materialize, asset, partition, assets, now, payload
        )

    def materializations(
        self,
        asset: str | None = None,
        state: MaterializationState | None = None,
        partition: str | None = None,
        limit: int = 50,
        before_id: int | None = None,
    ) -> list[Materialization]:
        """List materializations, newest first."""
        return self._database.read(materializations.find, asset, state, partition, limit, before_id)

    def materialization(self, number: int) -> Materialization:
        """Return one materialization.

        Raises:
            NotFoundError: If there is none of this number.
        """
        return self._database.read(materializations.get, number)

    def attempts(self, number: int) -> list[Attempt]:
        """List the attempts of a materialization, first one first."""
        return self._database.read(attempts.of_materialization, number)

    def events_of(self, number: int) -> list[StoredEvent]:
        """List the events that asked for a materialization, oldest first."""
        return self._database.read(events.of_materializations, [number])[number]

    def retry(self, number: int, assets: AssetGraph | None, now: datetime) -> Materialization:
        """Have one that was discarded or cancelled made after all; or one that waits, at once.

        Raises:
            NotFoundError: If there is none of this number.
            ConflictError: If its state does not allow it, or another one is pending for the same
                partition.
        """
        return self._database.write(materializations.retry, number, assets, now)

    def cancel(self, number: int, assets: AssetGraph, now: datetime) -> list[Materialization]:
        """Cancel one that has not ended; a running attempt's result will not be kept.

        Returns:
            Those that changed, the cancelled one first.

        Raises:
            NotFoundError: If there is none of this number.
            ConflictError: If it has ended.
        """
        return self._database.write(materializations.cancel, number, assets, now)

    def counts(self) -> dict[MaterializationState, int]:
        """Count materializations by state; each state is there, if only with zero."""
        return self._database.read(materializations.counts)

    @property
    def backfills(self) -> Backfills:
        """What is remembered of backfills."""
        return Backfills(self._database)

    def pruning(self, *, dry_run: bool = False) -> Pruning:
        """Return what deletes old history, in many transactions.

        Args:
            dry_run: Whether it only says what it would delete.
        """
        return Pruning(self._database, dry_run=dry_run)

    # -- what engines call: see `MaterializationQueue` -------------------------------------------

    def claim(self, runner_id: str, limit: int, assets: AssetGraph, now: datetime) -> ClaimRound:
        """See `MaterializationQueue.claim`."""
        return self._database.write(claims.claim, runner_id, limit, assets, now)

    def finish(
        self, claim: Claim, end: AttemptResult, assets: AssetGraph, now: datetime
    ) -> Sequence[Materialization]:
        """See `MaterializationQueue.finish`."""
        return self._database.write(attempts.finish, claim, end, assets, now)

    def release(self, claims: Collection[Claim], now: datetime) -> None:
        """See `MaterializationQueue.release`."""
        self._database.write(attempts.release, claims, now)

    def recover(
        self, now: datetime, runner_id: str | None = None, held: Collection[str] = ()
    ) -> Sequence[Materialization]:
        """See `MaterializationQueue.recover`."""
        return self._database.write(attempts.recover, now, runner_id, held)

    def look_again(self, assets: AssetGraph, now: datetime) -> None:
        """See `MaterializationQueue.look_again`."""
        self._database.write(enqueueing.look_again, assets, now)

    def stale_tokens(self, tokens: Collection[str]) -> set[str]:
        """See `MaterializationQueue.stale_tokens`."""
        return self._database.read(attempts.stale_tokens, tokens)

    def unfinished(self, assets: AssetGraph, before: datetime | None = None) -> int:
        """See `MaterializationQueue.unfinished`."""
        return self._database.read(materializations.unfinished, assets, before)


def _warn_of_network(database: Database) -> None:
    kind = None if database.file is None else sqlite_file.remote_kind(database.file)
    if kind is not None:
        logger.warning(
            "the store is on a network file system, where SQLite may be corrupted: "
            "put it on a local disk, or use PostgreSQL",
            extra={"store": database.display, "file_system": kind},
        )
