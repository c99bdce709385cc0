"""Schedule records: read from rows; and the checkpoints, written after ticks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from sqlalchemy import Connection, Row, select

from flowstone_core.errors import NotFoundError, did_you_mean
from flowstone_core.model.chunking import chunks
from flowstone_core.model.json_document import load_object
from flowstone_core.model.tick import ScheduleCheckpoint, ScheduleCommit, TickOutcome
from flowstone_core.scheduling.schedule import ScheduleSpec, merged
from flowstone_core.store import schema
from flowstone_core.store.checkpoint_columns import (
    SCHEDULE_CHECKPOINT,
    checkpoint_rows,
    checkpoint_update,
)
from flowstone_core.store.readable_rows import read, read_one

_schedules = schema.schedules

_UPDATE = checkpoint_update(_schedules, SCHEDULE_CHECKPOINT)


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A stored schedule.

    Attributes:
        origin: ``file:line`` of its declaration, or `COMMAND`.
        declared: The settings in a file or pipeline; None if none declares the schedule.
        edits: The settings changed at run time, which override the declared ones; None if
            there are none.
        checkpoint: The data kept from one tick to the next.
        paused: True if an operator or a failure paused it.
        paused_because: The failure that paused it; None if an operator did.
        owner: The id of the runner that ticks it; None if there is none.
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
    def new(cls, name: str, spec: ScheduleSpec, where: str, now: datetime) -> ScheduleRecord:
        """Return the record of a schedule that is declared now for the first time."""
        checkpoint = ScheduleCheckpoint(now)
        asset = str(spec["asset"])
        return cls(name, asset, where, spec, None, checkpoint, False, None, None, now, None)  # noqa: FBT003

    @property
    def spec(self) -> ScheduleSpec:
        """The settings in force: the declared ones with the edits merged in."""
        return merged(self.declared, self.edits)


def find(connection: Connection, names: Collection[str] | None = None) -> list[ScheduleRecord]:
    """List schedules by name; unknown names are left out."""
    query = select(_schedules).order_by(_schedules.c.name)
    if names is None:
        return read(connection.execute(query), _schedules, record_of)
    return [
        record
        for chunk in chunks(sorted(names))
        for record in read(
            connection.execute(query.where(_schedules.c.name.in_(chunk))), _schedules, record_of
        )
    ]


def get(connection: Connection, name: str, *, lock: bool = False) -> ScheduleRecord:
    """Return one schedule.

    Raises:
        NotFoundError: If there is no schedule with this name.
        UnreadableRowError: If its row cannot be read.
    """
    query = select(_schedules).where(_schedules.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise unknown(connection, name)
    return read_one(row, _schedules, record_of)


def save_checkpoints(connection: Connection, commits: Sequence[ScheduleCommit]) -> None:
    """Write the checkpoints of schedules after their ticks."""
    rows = checkpoint_rows(commits, attrgetter("schedule"), SCHEDULE_CHECKPOINT)
    _UPDATE(connection, rows)


def _load(text: str | None) -> ScheduleSpec | None:
    return None if text is None else load_object(text)


def unknown(connection: Connection, name: str) -> NotFoundError:
    """Return the error for a schedule that is not in the store, with a hint."""
    known = connection.scalars(select(_schedules.c.name)).all()
    hint = did_you_mean(name, known) or "flowstone schedules list shows those there are"
    return NotFoundError(f"unknown schedule {name!r}", hint=hint, schedule=name)


def record_of(row: Row[*tuple[object, ...]]) -> ScheduleRecord:
    """Read a schedule from its row."""
    return ScheduleRecord(
        name=row.name,
        asset=row.asset,
        origin=row.origin,
        declared=_load(row.declared),
        edits=_load(row.edits),
        checkpoint=ScheduleCheckpoint(**{key: getattr(row, key) for key in SCHEDULE_CHECKPOINT}),
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
