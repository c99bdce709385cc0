"""The store: FlowStone's tables in SQLite or PostgreSQL.

Other wings import from here only. The modules:

* `store`: opens, upgrades, backs up and checks the database, and holds the repositories.
* `runners`: runners and their leases.
* `peers`: the runners that have not stopped, as another one sees them.
* `survey`: all that a runner reads each second.
* `session_lock`: an advisory lock of PostgreSQL that ends with its process.
* `sensors`: sensors, their checkpoints and owners.
* `sensor_records`: rows of sensors, read.
* `sensor_names`: sensors that were renamed, or are gone.
* `sensor_marks`: what a runner writes on its sensors beside the ticks.
* `schedules`: schedules, their declarations, edits, checkpoints and owners.
* `schedule_records`: rows of schedules, read and written.
* `schedule_edits`: declarations, and changes at run time.
* `ownership`: the rule by which runners claim sensors and schedules.
* `ticks`: commits of ticks, and their history.
* `checkpoint_columns`: what commits write to the rows of sensors and schedules.
* `skips`: the instants for which a schedule fired nothing.
* `events`: events, one for each key of a source.
* `materializations`: listings, requests, retries and cancellations.
* `load`: what the runners run, and what waits for them.
* `enqueueing`: creates pending materializations, joins existing ones, requeues held ones.
* `claims`: starts materializations that are due and ready.
* `dependencies`: decides if a materialization may start.
* `discarding`: ends materializations that can never run.
* `attempts`: ends and releases attempts.
* `attempt_recovery`: ends the attempts of dead runners.
* `overlap_queue`: the order of a schedule's materializations.
* `overlap_ends`: what an end changes in that order.
* `engine_queue`: the materialization queue of engines.
* `backfills`, `backfill_partitions`: backfills, and the requests for their partitions.
* `pruning`, `batch_writer`: delete old history in small batches.
* `retention`: the policy that decides which rows are kept.
* `integrity`: checks pages, references and invariants.
* `backup`: copies an SQLite store while it is in use.
* `store_copy`, `table_copy`: copy a store to another database.
* `row_numbers`: the last number that each table has given.
* `write_probe`: tells if the store takes writes.
* `migration`: the schema's revision; `migrations` has one file for each.
* `database`: connections and transactions.
* `row_sets`, `row_writes`, `hot_statements`: many rows in one statement, compiled once.
* `sql_engines`, `driver_errors`, `postgresql_errors`, `statements`, `store_url`: the database's
  parts.
* `sqlite_file`, `sqlite_logs`, `write_turn`, `postgresql_session`: what only one of the databases
  has.
* `wake_up`, `sqlite_listener`, `file_watch`, `postgresql_listener`, `notifier`: what one process
  commits wakes the runners of others.
* `readable_rows`: leaves out a row that cannot be read.
* `schema`, `owned_tables`, `column_types`: the tables and their column types.
"""

from flowstone_core.store.backfill_partitions import BackfillRecord, PartitionState
from flowstone_core.store.backfills import BackfillRepository
from flowstone_core.store.backup import Backup
from flowstone_core.store.engine_queue import EngineQueue
from flowstone_core.store.events import EventRepository
from flowstone_core.store.integrity import IntegrityReport
from flowstone_core.store.materializations import MaterializationRepository
from flowstone_core.store.peers import Peer
from flowstone_core.store.pruning import Pruned
from flowstone_core.store.retention import KeyRetention
from flowstone_core.store.runners import RunnerRepository
from flowstone_core.store.schedule_edits import DeclaredSchedule
from flowstone_core.store.schedule_records import ScheduleRecord
from flowstone_core.store.schedules import ScheduleRepository
from flowstone_core.store.sensor_records import SensorRecord
from flowstone_core.store.sensors import SensorRepository
from flowstone_core.store.session_lock import SessionLock
from flowstone_core.store.skips import SkipRepository, StoredSkip
from flowstone_core.store.store import Store
from flowstone_core.store.store_copy import CopyProgress, StoreCopy
from flowstone_core.store.survey import Ownership, Survey
from flowstone_core.store.ticks import Commit, TickRepository, TickResult
from flowstone_core.store.wake_up import CommitListener, Findings

__all__ = [
    "BackfillRecord",
    "BackfillRepository",
    "Backup",
    "Commit",
    "CommitListener",
    "CopyProgress",
    "DeclaredSchedule",
    "EngineQueue",
    "EventRepository",
    "Findings",
    "IntegrityReport",
    "KeyRetention",
    "MaterializationRepository",
    "Ownership",
    "PartitionState",
    "Peer",
    "Pruned",
    "RunnerRepository",
    "ScheduleRecord",
    "ScheduleRepository",
    "SensorRecord",
    "SensorRepository",
    "SessionLock",
    "SkipRepository",
    "Store",
    "StoreCopy",
    "StoredSkip",
    "Survey",
    "TickRepository",
    "TickResult",
]
