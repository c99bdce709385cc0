"""Edits of schedules: declarations, and changes by operators at run time.

An edit increments the schedule's version and clears its owner, so that the runner which ticks
the schedule loses it, and claims it again as it is then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from sqlalchemy import Connection, delete, update

from flowstone_core.errors import ConflictError
from flowstone_core.model.json_document import dump_document
from flowstone_core.model.tick import Skip
from flowstone_core.scheduling.schedule import ScheduleSpec, merged, timing
from flowstone_core.store import schema
from flowstone_core.store.readable_rows import UnreadableRowError, log_once
from flowstone_core.store.schedule_records import ScheduleRecord, find, get, unknown
from flowstone_core.store.skips import record_with_tick
from flowstone_core.store.statements import insert

_schedules = schema.schedules

COMMAND = "command"
"""The origin of a schedule that no file and no pipeline declares."""

_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class DeclaredSchedule:
    """A schedule as a file or a pipeline declares it.

    Attributes:
        spec: The settings.
        where: The place of the declaration, ``file:line``.
        skips: The instants to record as skipped if its times differ from the stored ones.
    """

    name: str
    spec: ScheduleSpec
    where: str
    skips: tuple[Skip, ...] = ()


def changed(connection: Connection, declared: Iterable[DeclaredSchedule]) -> list[DeclaredSchedule]:
    """Return the declarations that differ from the stored ones."""
    wanted = {item.name: item for item in declared}
    known = {record.name: record for record in find(connection, wanted)}
    return [
        item
        for name, item in wanted.items()
        if name not in known
        or (known[name].declared, known[name].origin) != (item.spec, item.where)
    ]


def declare(connection: Connection, declared: Collection[DeclaredSchedule], now: datetime) -> None:
    """Store declarations; see `ScheduleRepository.declare`."""
    # In one order, or two runners that declare at once would deadlock.
    for item in sorted(declared, key=attrgetter("name")):
        text = _dump(item.spec)
        row = {**_new(item.name, item.spec, now), "declared": text, "origin": item.where}
        if _insert(connection, row):
            continue
        try:
            before = get(connection, item.name, lock=True)
        except UnreadableRowError as error:
            log_once(error)
            continue
        values: dict[str, object] = {"declared": text, "origin": item.where}
        if before.declared != item.spec:
            spec = merged(item.spec, before.edits)
            values |= _changed(before, spec, now)
            if "decided_until" in values:
                record_with_tick(connection, item.name, item.skips, now)
        _update(connection, item.name, values)


def create(connection: Connection, name: str, spec: ScheduleSpec, now: datetime) -> ScheduleRecord:
    """Insert an undeclared schedule; see `ScheduleRepository.create`."""
    row = {**_new(name, spec, now), "edits": _dump(spec), "edited_at": now, "origin": COMMAND}
    if not _insert(connection, row):
        other = get(connection, name)
        raise ConflictError(
            f"duplicate schedule {name!r}, for asset {other.asset} ({other.origin})",
            hint="update the schedule, or give the new one another name",
            schedule=name,
        )
    return get(connection, name)


def edit(
    connection: Connection,
    name: str,
    version: int,
    edits: ScheduleSpec | None,
    skips: Sequence[Skip],
    now: datetime,
) -> ScheduleRecord | None:
    """Replace the edits of a schedule; see `ScheduleRepository.edit`."""
    before = get(connection, name, lock=True)
    if before.checkpoint.version != version:
        return None
    values = _changed(before, merged(before.declared, edits), now)
    if "decided_until" in values:
        record_with_tick(connection, name, skips, now)
    text = None if edits is None else _dump(edits)
    _update(connection, name, {**values, "edits": text, "edited_at": now})
    return get(connection, name)


def remove(connection: Connection, name: str) -> None:
    """Delete a schedule; see `ScheduleRepository.remove`."""
    if not connection.execute(delete(_schedules).where(_schedules.c.name == name)).rowcount:
        raise unknown(connection, name)


def pause(connection: Connection, name: str) -> ScheduleRecord:
    """Pause a schedule; see `ScheduleRepository.pause`."""
    before = get(connection, name, lock=True)
    if not before.paused:
        _update(
            connection,
            name,
            {"paused": True, "owner": None, "version": before.checkpoint.version + 1},
        )
    return get(connection, name)


def resume(
    connection: Connection, name: str, version: int, skips: Sequence[Skip], now: datetime
) -> ScheduleRecord | None:
    """Resume a schedule; see `ScheduleRepository.resume`."""
    before = get(connection, name, lock=True)
    if before.checkpoint.version != version:
        return None
    if before.paused:
        record_with_tick(connection, name, skips, now)
        values = {"paused": False, "paused_because": None, **_restarted(before, now)}
        _update(connection, name, values)
    return get(connection, name)


def _insert(connection: Connection, row: Mapping[str, object]) -> bool:
    """Insert a schedule; return False if its name is taken."""
    statement = insert(connection, _schedules).values(row)
    # Not by the row count: psycopg returns none for a statement with ON CONFLICT.
    statement = statement.on_conflict_do_nothing(index_elements=["name"])
    return connection.scalar(statement.returning(_schedules.c.name)) is not None


def _new(name: str, spec: ScheduleSpec, now: datetime) -> dict[str, object]:
    return {
        "name": name,
        **_denormalized(spec),
        "version": 0,
        "decided_until": now,
        "failures": 0,
        "paused": False,
        "created_at": now,
    }


def _denormalized(spec: ScheduleSpec) -> dict[str, object]:
    return {
        "asset": spec["asset"],
        "pause_on_failure": bool(spec.get("pause_on_failure", False)),
    }


def _changed(before: ScheduleRecord, spec: ScheduleSpec, now: datetime) -> dict[str, object]:
    """Return the columns that an edit changes; the owner loses the schedule."""
    values = {**_denormalized(spec), "owner": None, "version": before.checkpoint.version + 1}
    if timing(spec) != timing(before.spec):
        values |= _restarted(before, now)
    return values


def _restarted(before: ScheduleRecord, now: datetime) -> dict[str, object]:
    return {
        "decided_until": now,
        "version": before.checkpoint.version + 1,
        "failures": 0,
        "not_before": None,
        "owner": None,
    }


def _update(connection: Connection, name: str, values: Mapping[str, object]) -> None:
    connection.execute(update(_schedules).where(_schedules.c.name == name).values(values))


def _dump(spec: ScheduleSpec) -> str:
    return dump_document(spec, what="the schedule", limit=_LIMIT)
