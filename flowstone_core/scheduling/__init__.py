"""Scheduling: when things are due. Pure: no database, no threads, no clock.

Triggers compute instants, catch-up selects the due ones, and the decision lists a tick's commits.

* `trigger`: base class of triggers, and the check of their contract
* `cron`: cron trigger, by the rules of Debian's cron
* `cron_field`: parser of one cron field
* `cron_times`: local times of a cron expression
* `every`: interval trigger, in the grammar of the package schedule
* `builtin_triggers`: the triggers of the core, and reserved names
* `time_zone`: IANA time zones and their data
* `zone_table`: periods of a zone between two clock changes
* `clock_rules`: instants of local times, gaps and overlaps
* `partition_template`: partitions from instants, ``${year}-${month}-${day}``
* `settings`: settings that every schedule has
* `schedule`: a schedule ready to be evaluated, from declaration and edits
* `catchup`: due, missed and skipped instants
* `schedule_decision`: what a schedule's tick commits
* `upcoming`: upcoming fire times, for listings
"""
