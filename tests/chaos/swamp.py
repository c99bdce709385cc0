"""Foreign code that gets stuck where a test says, and a healthy sensor to be harmed by it.

A process of its own runs it, see `wade`; what happens in it is told in files of its folder.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias, cast

from flowstone_core import (
    Context,
    Flowstone,
    NotTriggered,
    Outcome,
    Pipeline,
    Sensor,
    SensorConfig,
    Trigger,
)
from flowstone_core.plugin import time_limit
from flowstone_core.runtime.isolation.watchdog import Watchdog
from flowstone_core.runtime.ticking import schedule_ticker
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker

Place: TypeAlias = Literal[
    "nowhere", "import", "hook", "init", "poll", "cleanup", "asset", "observer", "trigger"
]
How: TypeAlias = Literal["sleeps", "spins", "holds-gil"]
Mode: TypeAlias = Literal["thread", "process"]

FOLDER = "FLOWSTONE_SWAMP"
"""The environment variable that names the folder in which it is told what happened."""

HOW = "FLOWSTONE_SWAMP_PLACE"
"""The environment variable that says where it gets stuck, and how: ``poll+asset:sleeps``."""

GRACE = timedelta(seconds=2)
BOG = """
import swamp
from flowstone_core import hookimpl

FLOWSTONE_API = 1
swamp.wade("import")

@hookimpl
def flowstone_triggers():
    swamp.wade("hook")
    return {"bog": swamp.Bog}

@hookimpl
def flowstone_tick_finished(tick):
    swamp.wade("observer")
"""


def note(what: str, *words: object) -> None:
    """Write a line into a file of the folder, at once and whole."""
    path = Path(os.environ[FOLDER]) / what
    line = " ".join(map(str, (time.monotonic(), *words)))
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def wade(place: Place) -> None:
    """Get stuck here, if it is the place."""
    places, how = os.environ[HOW].split(":")
    if place in places.split("+"):
        note("stuck", place, os.getpid())
        _WAYS[how]()


def _spin() -> None:
    while True:
        pass


_WAYS: dict[str, Callable[[], object]] = {
    "sleeps": lambda: threading.Event().wait(),
    "spins": _spin,
    "holds-gil": lambda: ctypes.PyDLL(None).pause(),
}


class Healthy(Sensor[SensorConfig, int]):
    """Tells when it is polled."""

    def init(self) -> int:
        """Begin."""
        return 0

    def poll(self, state: int) -> Outcome[int]:
        """Tell that it begins."""
        note("begun")
        return NotTriggered(state + 1)


class Sick(Sensor[SensorConfig, int]):
    """Gets stuck where it is told to."""

    def init(self) -> int:
        """Get stuck here, if it is the place."""
        wade("init")
        return 0

    def poll(self, state: int) -> Outcome[int]:
        """Get stuck here, if it is the place."""
        wade("poll")
        return NotTriggered(state)

    def cleanup(self) -> None:
        """Get stuck here, if it is the place."""
        wade("cleanup")


class Bog(Trigger):
    """A plugin's trigger."""

    def next_fire(self, after: datetime) -> datetime | None:
        """Get stuck here, if it is the place."""
        wade("trigger")
        return None


def report(context: Context) -> None:
    """Get stuck here, if it is the place."""
    wade("asset")


def well(context: Context) -> None:
    """Tell that it is made."""
    note("made")


def install(folder: Path) -> None:
    """Install the plugin into a folder."""
    info = folder / "flowstone_bog-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flowstone-bog\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flowstone]\nbog = bog\n")
    (folder / "bog.py").write_text(BOG)


def run(mode: Mode, store: str, lease: str, starting: str) -> bool:
    """Be the process: run a FlowStone with foreign code that gets stuck; until a signal comes."""
    _tell_when_it_is_due()
    pipeline = Pipeline("swamp")
    pipeline.asset(name="report", run_in=mode, timeout="1s", max_attempts=1)(report)
    pipeline.asset(name="well")(well)
    # A process has to start within its deadline, on a busy machine too.
    settings = {"deadline": "1s" if mode == "thread" else starting, "isolation": mode}
    pipeline.sensor("sick", Sick, asset="well", every="100ms", backoff="100ms", **settings)
    pipeline.sensor("healthy", Healthy, asset="well", every="50ms")
    if "trigger" in os.environ[HOW]:
        pipeline.schedule("well", name="sick", bog="now and then")
    flow = Flowstone(
        pipeline,
        store=store,
        lease=lease,
        grace=GRACE,
        plugins=("flowstone-bog",),
    )
    for warning in flow.project.warnings:
        note("warned", warning)
    with flow:
        flow.materialize("report", "p")
        flow.materialize("well", "p")
        with Watchdog(2 * flow.project.run.lease):
            return flow.run()


def _tell_when_it_is_due() -> None:
    """Have it told when each poll of the healthy sensor was due, in the order of the polls."""
    following = SensorTicker.following

    def tell(self: SensorTicker, due: float, now: float) -> float:
        if self.name == "healthy":
            note("due", due)
        return following(self, due, now)

    SensorTicker.following = tell  # type: ignore[method-assign]


if __name__ == "__main__":
    # Imported before there is a deadline for it.
    import swamp

    import flowstone_core.runtime.builtin_plugin
    import flowstone_core.runtime.engine.local_engine
    import flowstone_core.runtime.isolation.child_process
    import flowstone_core.runtime.runner
    import flowstone_core.store  # noqa: F401

    logging.basicConfig(level=logging.WARNING)
    time_limit.LOADING_SECONDS = float(sys.argv[2])
    schedule_ticker.DEADLINE_SECONDS = 1.0
    note("ended", swamp.run(cast("swamp.Mode", sys.argv[1]), *sys.argv[3:6]))
