"""The ``flowstone`` command: one module for each group of commands.

``--help`` and ``--version`` must answer at once: the command table imports a command's module
only when the command is used, and each module imports what is heavy inside its functions.

root: the root command: global options, errors as messages, exit codes, commands of plugins
commands: the command table
session: configuration, log and open Flowstone of one command line
run: ``run``
check: ``check``
status: ``status``
sensors: ``sensors list, show, poll, pause, resume, reset``
sensor_names: ``sensors rename, remove``
schedules: ``schedules list, show, skipped, add, update, remove, pause, resume, next``
schedule_options: options for the settings of a schedule
schedule_rows: schedules and skips as rows of listings
preview: ``schedules next``: upcoming instants
source_commands: ``pause`` and ``resume``, which sensors and schedules share
events: ``events list``
materializations: ``materialize``; ``materializations list, show, retry, cancel``
backfill: ``backfill``
explain: ``explain``
database: ``db upgrade, prune, backup, check``
plugins: ``plugins list, show``
new_plugin: ``new-plugin``
scaffold: the template of a new plugin, and its writer
listing: tables for people, JSON for programs
log_output: log lines: the logging handler, its format and redaction
"""

from __future__ import annotations

from flowstone_core.cli.root import root

main = root
"""The console script; it takes its arguments from ``sys.argv`` and ends the process."""

__all__ = ["main"]
