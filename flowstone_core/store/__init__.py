"""The store: FlowStone's tables in SQLite or PostgreSQL."""

from flowstone_core.store.backfills import BackfillRecord, BackfillRepository, PartitionState
from flowstone_core.store.backup import Backup
from flowstone_core.store.engine_queue import EngineQueue
from flowstone_core.store.events import EventRepository
from flowstone_core.store.integrity import IntegrityReport
from flowstone_core.store.materializations import MaterializationRepository
from flowstone_core.store.pruning import Pruned
from flowstone_core.store.retention import KeyRetention
from flowstone_core.store.runners import RunnerRepository
from flowstone_core.store.schedule_edits import DeclaredSchedule
from flowstone_core.store.schedule_records import ScheduleRecord
from flowstone_core.store.schedules import ScheduleRepository
from flowstone_core.store.sensors import SensorRecord, SensorRepository
from flowstone_core.store.skips import SkipRepository, StoredSkip
from flowstone_core.store.store import Store
from flowstone_core.store.ticks import Commit, TickRepository, TickResult

__all__ = [
    "BackfillRecord",
    "BackfillRepository",
    "Backup",
    "Commit",
    "DeclaredSchedule",
    "EngineQueue",
    "EventRepository",
    "IntegrityReport",
    "KeyRetention",
    "MaterializationRepository",
    "PartitionState",
    "Pruned",
    "RunnerRepository",
    "ScheduleRecord",
    "ScheduleRepository",
    "SensorRecord",
    "SensorRepository",
    "SkipRepository",
    "Store",
    "StoredSkip",
    "TickRepository",
    "TickResult",
]
