"""Schedules: their declarations, edits, checkpoints and owners."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from flowstone_core.model.tick import Skip
from flowstone_core.scheduling.schedule import ScheduleSpec
from flowstone_core.store import ownership, schedule_edits, schema
from flowstone_core.store.database import Database
from flowstone_core.store.readable_rows import read
from flowstone_core.store.schedule_edits import DeclaredSchedule
from flowstone_core.store.schedule_records import ScheduleRecord, find, get, record_of

_schedules = schema.schedules


class ScheduleRepository:
    """Schedules; every method is one transaction, from any thread.

    Args:
        database: The store's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def declare(
        self, declared: Collection[DeclaredSchedule], now: datetime
    ) -> Sequence[DeclaredSchedule]:
        """Store the declarations of files and pipelines; write nothing if none has changed.

        Edits made at run time stay in force over the declaration. A schedule whose times change
        fires only for instants after ``now``.

        Returns:
            The declarations that were new or had changed.
        """
        changed = self._database.read(schedule_edits.changed, declared)
        if changed:
            self._database.write_and_notify(schedule_edits.declare, changed, now)
        return changed

    def create(self, name: str, spec: ScheduleSpec, now: datetime) -> ScheduleRecord:
        """Insert a schedule that no file and no pipeline declares; it fires after ``now``.

        Raises:
            ConflictError: If there is a schedule with this name.
        """
        return self._database.write_and_notify(schedule_edits.create, name, spec, now)

    def edit(
        self,
        name: str,
        version: int,
        edits: ScheduleSpec | None,
        skips: Sequence[Skip],
        now: datetime,
    ) -> ScheduleRecord | None:
        """Replace all edits made at run time.

        Args:
            name: The schedule.
            version: Its version when the edit was worked out.
            edits: All edits; None to discard them.
            skips: The instants to record as skipped if the schedule's times change; the schedule
                then fires only for instants after ``now``.
            now: The time of the edit.

        Returns:
            The schedule; None if its version has changed since: nothing was written.

        Raises:
            NotFoundError: If there is no schedule with this name.
        """
        return self._database.write_and_notify(
            schedule_edits.edit, name, version, edits, skips, now
        )

    def remove(self, name: str) -> None:
        """Delete a schedule; its ticks, events and skips stay.

        Raises:
            NotFoundError: If there is no schedule with this name.
        """
        self._database.write_and_notify(schedule_edits.remove, name)

    def pause(self, name: str) -> ScheduleRecord:
        """Pause a schedule; the next commit of its runner is refused.

        Raises:
            NotFoundError: If there is no schedule with this name.
        """
        return self._database.write_and_notify(schedule_edits.pause, name)

    def resume(
        self, name: str, version: int, skips: Sequence[Skip], now: datetime
    ) -> ScheduleRecord | None:
        """Resume a paused schedule for instants after ``now``.

        Args:
            name: The schedule.
            version: Its version when the skips were worked out.
            skips: The instants to record as skipped while the schedule was paused.
            now: The time of the command.

        Returns:
            The schedule; None if its version has changed since: nothing was written.

        Raises:
            NotFoundError: If there is no schedule with this name.
        """
        return self._database.write_and_notify(schedule_edits.resume, name, version, skips, now)

    def claim(
        self, runner_id: str, names: Iterable[str], now: datetime
    ) -> dict[str, ScheduleRecord]:
        """Make a runner the owner of the given schedules that are free, as with sensors.

        Returns:
            The claimed schedules, by name.
        """
        return self._database.write(_claim, runner_id, names, now)

    def release(self, runner_id: str, names: Iterable[str]) -> None:
        """Release those of the given schedules that a runner owns."""
        self._database.write(ownership.release, _schedules, runner_id, names)

    def assets(self) -> dict[str, str | None]:
        """Return the asset of each schedule that nothing declares, by name; None for the others."""
        return self._database.read(_assets)

    def owned(self, runner_id: str) -> set[str]:
        """Return the names of the schedules that a runner owns."""
        return self._database.read(ownership.names, _schedules, runner_id)

    def all(self, names: Collection[str] | None = None) -> list[ScheduleRecord]:
        """List schedules by name.

        Args:
            names: Only these schedules; unknown names are left out.
        """
        return self._database.read(find, names)

    def get(self, name: str) -> ScheduleRecord:
        """Return one schedule.

        Raises:
            NotFoundError: If there is no schedule with this name.
        """
        return self._database.read(get, name)


def _claim(
    connection: Connection, runner_id: str, names: Iterable[str], now: datetime
) -> dict[str, ScheduleRecord]:
    rows = ownership.claim(connection, _schedules, runner_id, names, now)
    return {record.name: record for record in read(rows, _schedules, record_of)}


def _assets(connection: Connection) -> dict[str, str | None]:
    query = select(_schedules.c.name, _schedules.c.asset, _schedules.c.declared.is_(None))
    return {
        name: asset if undeclared else None for name, asset, undeclared in connection.execute(query)
    }
