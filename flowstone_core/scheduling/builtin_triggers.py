"""..."""

from __future__ import annotations

from flowstone_core.scheduling.cron import CronTrigger
from flowstone_core.scheduling.every import EveryTrigger
from flowstone_core.scheduling.schedule import Triggers
from flowstone_core.scheduling.settings import ScheduleSettings

BUILT_IN: Triggers = {"cron": CronTrigger, "every": EveryTrigger}


"""The triggers that come with the core."""


RESERVED = frozenset({*ScheduleSettings.model_fields, "asset", "name", "partition_fn", "trigger"})


"""Settings of schedules: no trigger may be called so."""
