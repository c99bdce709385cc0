"""The store: FlowStone's tables in SQLite or PostgreSQL, behind one facade."""

from flowstone_core.store.backfills import BackfillRecord, Backfills, PartitionState
from flowstone_core.store.backup import Backup
from flowstone_core.store.integrity import IntegrityReport
from flowstone_core.store.pruning import Pruned
from flowstone_core.store.retention import KeyRetention
from flowstone_core.store.schedules import DeclaredSchedule, ScheduleRecord, StoredSkip
from flowstone_core.store.sensors import SensorRecord
from flowstone_core.store.store import Store
from flowstone_core.store.ticks import Commit, TickResult

__all__ = [
    "BackfillRecord",
    "Backfills",
    "Backup",
    "Commit",
    "DeclaredSchedule",
    "IntegrityReport",
    "KeyRetention",
    "PartitionState",
    "Pruned",
    "ScheduleRecord",
    "SensorRecord",
    "Store",
    "StoredSkip",
    "TickResult",
]
