"""Built-in triggers by their names in the configuration, and the names that are reserved."""

from __future__ import annotations

from flowstone_core.scheduling.cron import CronTrigger
from flowstone_core.scheduling.every import EveryTrigger
from flowstone_core.scheduling.schedule import Triggers
from flowstone_core.scheduling.settings import ScheduleSettings

BUILT_IN: Triggers = {"cron": CronTrigger, "every": EveryTrigger}
"""Triggers of the core."""

RESERVED = frozenset({*ScheduleSettings.model_fields, "asset", "name", "partition_fn", "trigger"})
"""Settings of schedules, which cannot be names of triggers."""
