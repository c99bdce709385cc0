"""The ``flowstone`` command: one module for each group of commands.

Nothing heavy is imported here or at the top of a command's module, so that ``--help`` and
``--version`` answer at once; a command imports what it needs when it runs.
"""

from __future__ import annotations

from flowstone_core.cli.backfill import backfill
from flowstone_core.cli.check import check
from flowstone_core.cli.database import db
from flowstone_core.cli.events import events
from flowstone_core.cli.explain import explain
from flowstone_core.cli.materializations import materializations, materialize
from flowstone_core.cli.new_plugin import new_plugin
from flowstone_core.cli.plugins import plugins
from flowstone_core.cli.root import root
from flowstone_core.cli.run import run
from flowstone_core.cli.schedules import schedules
from flowstone_core.cli.sensors import sensors
from flowstone_core.cli.status import status

for _command in (
    run,
    check,
    status,
    plugins,
    sensors,
    schedules,
    events,
    explain,
    materialize,
    backfill,
    materializations,
    db,
    new_plugin,
):
    root.add_command(_command)

main = root
"""The console script; it takes its arguments from ``sys.argv`` and ends the process."""

__all__ = ["main"]
