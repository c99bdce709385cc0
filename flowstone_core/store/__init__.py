"""The store: FlowStone's tables in SQLite or PostgreSQL, behind one facade."""

from flowstone_core.store.schedules import Declared, ScheduleRecord, StoredSkip
from flowstone_core.store.sensors import SensorRecord
from flowstone_core.store.store import Store
from flowstone_core.store.ticks import Commit, TickResult

__all__ = [
    "Commit",
    "Declared",
    "ScheduleRecord",
    "SensorRecord",
    "Store",
    "StoredSkip",
    "TickResult",
]
