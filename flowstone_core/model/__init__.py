"""Model: what things are. Values, contracts and pure decisions; no database, no threads.

Everything else in FlowStone is built on these modules, and they import only `errors`.

* `asset`: asset, asset graph, and the context of an asset function
* `partition`: typed partitions and their canonical text
* `partition_range`: ranges of dates and datetimes, for backfills
* `event`: events, and the outcomes of a poll
* `sensor`: base class of sensors, function sensors, declarations
* `sensor_settings`: settings that every sensor has
* `sensor_decision`: what a sensor's tick commits
* `tick`: ticks, checkpoints and commits
* `materialization`: materializations, their states and claims
* `attempt_result`: result of an attempt
* `engine`: contract between engines and the store
* `backoff`: exponential back-off with jitter
* `clock`: the only reader of time
* `duration`: durations, ``1h30m`` and ISO 8601
* `setting_types`: types of settings, with their limits
* `entry_point_guard`: keeps broken foreign distributions from ending a command
* `json_document`: strict canonical JSON
* `redaction`: redacts secrets in texts
* `skipped_items`: what a tick's sensor left out for good: checked, merged, safe
* `safe_text`: printable, bounded texts of foreign values and errors
* `context_logger`: logger with fixed fields
* `chunking`: iterables in chunks
"""
