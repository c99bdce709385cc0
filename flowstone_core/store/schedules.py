"""Schedules: what was said of each, what was decided, who owns it, what operators did to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import cast

from sqlalchemy import Connection, Row, bindparam, delete, func, or_, select, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.sql.elements import ColumnElement

from flowstone_core.errors import ConflictError, NotFoundError, did_you_mean
from flowstone_core.model.chunking import chunks
from flowstone_core.model.json_document import dump_document, load_document
from flowstone_core.model.tick import (
    ScheduleCheckpoint,
    ScheduleCommit,
    Skip,
    SkipReason,
    TickOutcome,
)
from flowstone_core.scheduling.schedule import ScheduleSpec, merged, timing
from flowstone_core.store import ownership, runners, schema
from flowstone_core.store.database import insert

_schedules = schema.schedules
_skips = schema.skips
_ticks = schema.ticks
_MEMORY = tuple(field.name for field in fields(ScheduleCheckpoint))

COMMAND = "command"
"""The origin of a schedule that no file and no pipeline declares."""

_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A schedule as the store knows it.

    Attributes:
        origin: ``file:line`` of its declaration, or `COMMAND`.
        declared: What a file or a pipeline says of it; None if none ever did.
        edits: What was said at run time, laid over that; None if nothing was.
        memory: What was decided.
        paused: Whether an operator, or a failure, stopped it.
        paused_because: Why, if no operator did.
        owner: The id of the runner that ticks it; None when none does.
    """

    name: str
    asset: str
    origin: str
    declared: ScheduleSpec | None
    edits: ScheduleSpec | None
    checkpoint: ScheduleCheckpoint
    paused: bool
    paused_because: str | None
    owner: str | None
    created_at: datetime
    edited_at: datetime | None
    last_tick_at: datetime | None = None
    last_outcome: TickOutcome | None = None
    last_good_at: datetime | None = None
    last_error: str | None = None

    @classmethod
    def unborn(cls, name: str, given: ScheduleSpec, where: str, now: datetime) -> ScheduleRecord:
        """Return what the store would know of a declared schedule if it had heard of it now."""
        checkpoint = ScheduleCheckpoint(now)
        asset = str(given["asset"])
        return cls(name, asset, where, given, None, checkpoint, False, None, None, now, None)  # noqa: FBT003

    @property
    def spec(self) -> ScheduleSpec:
        """All that was said of it."""
        return merged(self.declared, self.edits)


@dataclass(frozen=True, slots=True)
class StoredSkip:
    """What a schedule skipped, as it was committed.

    Attributes:
        tick_id: The tick in which it did.
        skip: Which instants, and why.
    """

    id: int
    schedule: str
    tick_id: int
    skip: Skip


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
            given = merged(item.spec, before.edits)
            values |= _changed(before, given, now)
            if "decided_until" in values:
                record(connection, item.name, item.skips, now)
        _update(connection, item.name, values)


def create(connection: Connection, name: str, given: ScheduleSpec, now: datetime) -> ScheduleRecord:
    """Write a schedule that no file and no pipeline declares.

    Raises:
        ConflictError: If there is one of this name.
    """
    row = {**_new(name, given, now), "edits": _dump(given), "edited_at": now, "origin": COMMAND}
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
        record(connection, name, skips, now)
    text = None if edits is None else _dump(edits)
    _update(connection, name, {**values, "edits": text, "edited_at": now})
    return get(connection, name)


def remove(connection: Connection, name: str) -> None:
    """Delete a schedule; its history stays.

    Raises:
        NotFoundError: If there is none of this name.
    """
    if not connection.execute(delete(_schedules).where(_schedules.c.name == name)).rowcount:
        raise _unknown(connection, name)


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
        record(connection, name, skips, now)
        values = {"paused": False, "paused_because": None, **_anew(before, now)}
        _update(connection, name, values)
    return get(connection, name)


def claim(
    connection: Connection, runner_id: str, names: Iterable[str], now: datetime
) -> dict[str, ScheduleRecord]:
    """Make a runner the owner of those of the schedules that are free."""
    rows = ownership.claim(connection, _schedules, runner_id, names, now)
    return {row.name: _record_of(row) for row in rows}


def unowned(
    connection: Connection, runner_id: str, taken_over_at: datetime | None
) -> dict[str, str | None]:
    """Return the schedules that no runner owns, paused ones among them.

    Args:
        runner_id: Who asks.
        taken_over_at: Also those of runners that are not alive then; None for none of them.

    Returns:
        By name: the asset of one that is declared nowhere, None for one that is declared.
    """
    condition: ColumnElement[bool] = _schedules.c.owner.is_(None)
    if taken_over_at is not None:
        dead = ~runners.alive(_schedules.c.owner, taken_over_at)
        condition = or_(condition, (_schedules.c.owner != runner_id) & dead)
    query = select(_schedules.c.name, _schedules.c.asset, _schedules.c.declared.is_(None))
    return {
        name: asset if undeclared else None
        for name, asset, undeclared in connection.execute(query.where(condition))
    }


def find(connection: Connection, names: Collection[str] | None = None) -> list[ScheduleRecord]:
    """List schedules by name; all, or those of the names that there are."""
    query = select(_schedules).order_by(_schedules.c.name)
    if names is None:
        return [_record_of(row) for row in connection.execute(query)]
    return [
        _record_of(row)
        for chunk in chunks(sorted(names))
        for row in connection.execute(query.where(_schedules.c.name.in_(chunk)))
    ]


def get(connection: Connection, name: str, *, lock: bool = False) -> ScheduleRecord:
    """Return one schedule.

    Raises:
        NotFoundError: If there is none of this name.
    """
    query = select(_schedules).where(_schedules.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise _unknown(connection, name)
    return _record_of(row)


def remember(connection: Connection, commits: Sequence[ScheduleCommit]) -> None:
    """Write what schedules remember after their ticks."""
    good = bindparam("good_at", type_=schema.UtcDateTime)
    statement = (
        update(_schedules)
        .where(_schedules.c.name == bindparam("schedule"))
        .values(
            **{key: bindparam(f"after_{key}") for key in _MEMORY},
            last_tick_at=bindparam("finished_at"),
            last_outcome=bindparam("outcome"),
            last_error=bindparam("tick_error"),
            last_good_at=func.coalesce(good, _schedules.c.last_good_at),
        )
    )
    rows = [
        {
            "schedule": item.schedule,
            **{f"after_{key}": getattr(item.after, key) for key in _MEMORY},
            "finished_at": item.finished_at,
            "outcome": item.outcome,
            "tick_error": item.error,
            "good_at": item.finished_at if item.outcome.good else None,
        }
        for item in commits
    ]
    connection.execute(statement, rows)


def record(connection: Connection, name: str, skips: Sequence[Skip], now: datetime) -> None:
    """Write what was skipped other than by a tick: as a tick of its own."""
    if not skips:
        return
    tick = {
        "source": f"schedule:{name}",
        "outcome": TickOutcome.SKIPPED,
        "started_at": now,
        "finished_at": now,
        "events": 0,
        "duplicates": 0,
        "skipped": sum(skip.count for skip in skips),
    }
    number = connection.scalar(plain_insert(_ticks).values(tick).returning(_ticks.c.id))
    record_skips(connection, [(name, number, skips)])


def record_skips(
    connection: Connection, skipped: Iterable[tuple[str, int | None, Sequence[Skip]]]
) -> None:
    """Write what schedules skipped: their names, their ticks, and what."""
    rows = [
        {
            "schedule": name,
            "tick_id": tick_id,
            "reason": skip.reason,
            "first_at": skip.first,
            "last_at": skip.last,
            "count": skip.count,
            "complete": skip.complete,
        }
        for name, tick_id, skips in skipped
        for skip in skips
    ]
    if rows:
        connection.execute(plain_insert(_skips), rows)


def skips(
    connection: Connection, name: str | None, limit: int, before_id: int | None
) -> list[StoredSkip]:
    """List what schedules skipped, the latest first."""
    query = select(_skips).order_by(_skips.c.id.desc()).limit(limit)
    if name is not None:
        query = query.where(_skips.c.schedule == name)
    if before_id is not None:
        query = query.where(_skips.c.id < before_id)
    return [
        StoredSkip(
            row["id"],
            row["schedule"],
            row["tick_id"],
            Skip(
                SkipReason(row["reason"]),
                row["first_at"],
                row["last_at"],
                row["count"],
                row["complete"],
            ),
        )
        for row in connection.execute(query).mappings()
    ]


def _insert(connection: Connection, row: Mapping[str, object]) -> bool:
    """Write a schedule; False if there is one of its name."""
    statement = insert(connection, _schedules).values(row)
    # Not by the row count: psycopg has none for a statement with ON CONFLICT.
    statement = statement.on_conflict_do_nothing(index_elements=["name"])
    return connection.scalar(statement.returning(_schedules.c.name)) is not None


def _new(name: str, given: ScheduleSpec, now: datetime) -> dict[str, object]:
    return {
        "name": name,
        **_denormalized(given),
        "version": 0,
        "decided_until": now,
        "failures": 0,
        "paused": False,
        "created_at": now,
    }


def _denormalized(given: ScheduleSpec) -> dict[str, object]:
    return {
        "asset": given["asset"],
        "pause_on_failure": bool(given.get("pause_on_failure", False)),
    }


def _changed(before: ScheduleRecord, given: ScheduleSpec, now: datetime) -> dict[str, object]:
    """Return what an edit writes; who owns the schedule learns of it by losing it."""
    values = {**_denormalized(given), "owner": None, "version": before.checkpoint.version + 1}
    if timing(given) != timing(before.spec):
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


def _dump(given: ScheduleSpec) -> str:
    return dump_document(given, what="the schedule", limit=_LIMIT)


def _load(text: str | None) -> ScheduleSpec | None:
    return None if text is None else cast("ScheduleSpec", load_document(text))


def _unknown(connection: Connection, name: str) -> NotFoundError:
    known = connection.scalars(select(_schedules.c.name)).all()
    hint = did_you_mean(name, known) or "flowstone schedules list shows those there are"
    return NotFoundError(f"there is no schedule {name!r}", hint=hint, schedule=name)


def _record_of(row: Row[*tuple[object, ...]]) -> ScheduleRecord:
    return ScheduleRecord(
        name=row.name,
        asset=row.asset,
        origin=row.origin,
        declared=_load(row.declared),
        edits=_load(row.edits),
        checkpoint=ScheduleCheckpoint(**{key: getattr(row, key) for key in _MEMORY}),
        paused=row.paused,
        paused_because=row.paused_because,
        owner=row.owner,
        created_at=row.created_at,
        edited_at=row.edited_at,
        last_tick_at=row.last_tick_at,
        last_outcome=None if row.last_outcome is None else TickOutcome(row.last_outcome),
        last_good_at=row.last_good_at,
        last_error=row.last_error,
    )
