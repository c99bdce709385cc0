"""Test kit for sensors, pipelines and engines: a clock moved by hand, scripted sensors.

Installed with the core and found by pytest by itself: the fixtures `fake_clock` and
`scripted_sensor` are there without an import. Each name is imported when it is first used,
because pytest loads this package in every run, also in those that test something else.
"""

from typing import TYPE_CHECKING

import flowstone_core

if TYPE_CHECKING:
    from flowstone_core.config.settings_reference import settings_table as settings_table
    from flowstone_core.testing.concurrency import ConcurrencyHarness as ConcurrencyHarness
    from flowstone_core.testing.concurrency import ConcurrencyReport as ConcurrencyReport
    from flowstone_core.testing.contract import SensorContract as SensorContract
    from flowstone_core.testing.crash_point import CrashPoint as CrashPoint
    from flowstone_core.testing.fake_clock import FakeClock as FakeClock
    from flowstone_core.testing.leaks import assert_no_leaks as assert_no_leaks
    from flowstone_core.testing.scripted_sensor import Script as Script
    from flowstone_core.testing.scripted_sensor import ScriptedSensor as ScriptedSensor

_HOMES = {
    "ConcurrencyHarness": "testing.concurrency",
    "ConcurrencyReport": "testing.concurrency",
    "CrashPoint": "testing.crash_point",
    "FakeClock": "testing.fake_clock",
    "Script": "testing.scripted_sensor",
    "ScriptedSensor": "testing.scripted_sensor",
    "SensorContract": "testing.contract",
    "assert_no_leaks": "testing.leaks",
    "settings_table": "config.settings_reference",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = flowstone_core.lazy_names(globals(), _HOMES)
