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
from flowstone_core.store.schedule_records import ScheduleRecord, find, get, unknown
from flowstone_core.store.skips import record_with_tick
from flowstone_core.store.statements import insert

_schedules = schema.schedules

COMMAND = "command"
"""The origin of a schedule that no file and no pipeline declares."""

_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class DeclaredSchedule:
    """What a file or a pipeline says of a schedule.

    Attributes:
        where: ``file:line``.
        skips: What is skipped if its times differ from what the store knows.
    """

    name: str
    spec: ScheduleSpec
    where: str
    skips: tuple[Skip, ...] = ()


def changed(connection: Connection, declared: Iterable[DeclaredSchedule]) -> list[DeclaredSchedule]:
    """Return those that the store does not know as they are."""
    wanted = {item.name: item for item in declared}
    known = {record.name: record for record in find(connection, wanted)}
    return [
        item
        for name, item in wanted.items()
        if name not in known
        or (known[name].declared, known[name].origin) != (item.spec, item.where)
    ]


def declare(connection: Connection, declared: Collection[DeclaredSchedule], now: datetime) -> None:
    """Take over what a file or a pipeline says; what was said at run time stays over it.

    A schedule whose times change by that begins at ``now``.
    """
    # In one order, whoever declares: two at once would wait for each other.
    for item in sorted(declared, key=attrgetter("name")):
        text = _dump(item.spec)
        row = {**_new(item.name, item.spec, now), "declared": text, "origin": item.where}
        if _insert(connection, row):
            continue
        before = get(connection, item.name, lock=True)
        values: dict[str, object] = {"declared": text, "origin": item.where}
        if before.declared != item.spec:
            spec = merged(item.spec, before.edits)
            values |= _changed(before, spec, now)
            if "decided_until" in values:
                record_with_tick(connection, item.name, item.skips, now)
        _update(connection, item.name, values)


def create(connection: Connection, name: str, spec: ScheduleSpec, now: datetime) -> ScheduleRecord:
    """Write a schedule that no file and no pipeline declares.

    Raises:
        ConflictError: If there is one of this name.
    """
    row = {**_new(name, spec, now), "edits": _dump(spec), "edited_at": now, "origin": COMMAND}
    if not _insert(connection, row):
        other = get(connection, name)
        raise ConflictError(
            f"there is already a schedule {name!r}, for asset {other.asset} ({other.origin})",
            hint="update it, or give the new one a name of its own",
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
    """Replace what was said at run time; a schedule whose times change by that begins at ``now``.

    Args:
        version: As it was when the edit was worked out.
        edits: All that was ever said at run time; None for nothing any more.
        skips: What is skipped if its times change.

    Returns:
        The schedule, or None if it has changed meanwhile: nothing was written.

    Raises:
        NotFoundError: If there is none of this name.
    """
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
    """Delete a schedule; its history stays.

    Raises:
        NotFoundError: If there is none of this name.
    """
    if not connection.execute(delete(_schedules).where(_schedules.c.name == name)).rowcount:
        raise unknown(connection, name)


def pause(connection: Connection, name: str) -> ScheduleRecord:
    """Stop a schedule; it is taken from its runner, who thereby notices.

    Raises:
        NotFoundError: If there is none of this name.
    """
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
    """Let a paused schedule go on from ``now``; one that is not paused is left alone.

    Args:
        version: As it was when the skips were worked out.
        skips: What it skipped while it was paused.

    Returns:
        The schedule, or None if it has changed meanwhile: nothing was written.

    Raises:
        NotFoundError: If there is none of this name.
    """
    before = get(connection, name, lock=True)
    if before.checkpoint.version != version:
        return None
    if before.paused:
        record_with_tick(connection, name, skips, now)
        values = {"paused": False, "paused_because": None, **_anew(before, now)}
        _update(connection, name, values)
    return get(connection, name)


def _insert(connection: Connection, row: Mapping[str, object]) -> bool:
    """Write a schedule; False if there is one of its name."""
    statement = insert(connection, _schedules).values(row)
    # Not by the row count: psycopg has none for a statement with ON CONFLICT.
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
    """Return what an edit writes; who owns the schedule learns of it by losing it."""
    values = {**_denormalized(spec), "owner": None, "version": before.checkpoint.version + 1}
    if timing(spec) != timing(before.spec):
        values |= _anew(before, now)
    return values


def _anew(before: ScheduleRecord, now: datetime) -> dict[str, object]:
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
