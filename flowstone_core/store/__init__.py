"""The store: FlowStone's tables in SQLite or PostgreSQL, behind one facade."""

from flowstone_core.store.backup import Backup
from flowstone_core.store.expiry import Memory
from flowstone_core.store.pruning import Pruned
from flowstone_core.store.schedules import Declared, ScheduleRecord, StoredSkip
from flowstone_core.store.sensors import SensorRecord
from flowstone_core.store.soundness import Soundness
from flowstone_core.store.store import Store
from flowstone_core.store.ticks import Commit, TickResult

__all__ = [
    "Backup",
    "Commit",
    "Declared",
    "Memory",
    "Pruned",
    "ScheduleRecord",
    "SensorRecord",
    "Soundness",
    "Store",
    "StoredSkip",
    "TickResult",
]
