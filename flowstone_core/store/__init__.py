"""The store: FlowStone's tables in SQLite or PostgreSQL, behind one facade."""

from flowstone_core.store.expiry import Memory
from flowstone_core.store.pruning import Pruned
from flowstone_core.store.schedules import Declared, ScheduleRecord, StoredSkip
from flowstone_core.store.sensors import SensorRecord
from flowstone_core.store.store import Store
from flowstone_core.store.ticks import Commit, TickResult

__all__ = [
    "Commit",
    "Declared",
    "Memory",
    "Pruned",
    "ScheduleRecord",
    "SensorRecord",
    "Store",
    "StoredSkip",
    "TickResult",
]
