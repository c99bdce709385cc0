"""Let foreign code hang wherever it is called, and measure what a healthy sensor feels of it.

``make chaos`` runs it. Each row is a process of its own that runs a FlowStone on the clock of the
machine: something hangs in it for ever, and a healthy sensor, due every 50 ms, tells when it was
polled. Then the process is asked to end.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from swamp import FOLDER, GRACE, HOW, How, Mode, Place, install

from flowstone_core import Flowstone

ROWS: list[tuple[Place, Mode, How]] = [
    ("nowhere", "thread", "sleeps"),
    ("nowhere", "process", "sleeps"),
    ("import", "thread", "sleeps"),
    ("import", "thread", "spins"),
    ("hook", "thread", "sleeps"),
    ("init", "thread", "sleeps"),
    ("init", "process", "sleeps"),
    ("poll", "thread", "sleeps"),
    ("poll", "process", "sleeps"),
    ("poll", "thread", "spins"),
    ("poll", "process", "spins"),
    ("poll", "thread", "holds-gil"),
    ("poll", "process", "holds-gil"),
    ("asset", "thread", "sleeps"),
    ("asset", "process", "sleeps"),
    ("asset", "thread", "spins"),
    ("asset", "process", "holds-gil"),
    ("observer", "thread", "sleeps"),
    ("trigger", "thread", "sleeps"),
    ("cleanup", "thread", "sleeps"),
    ("cleanup", "process", "sleeps"),
]
LEAVE = GRACE.total_seconds() + 15
"""Seconds in which a process must have ended: its grace, and the moments for cleaning up."""


@dataclass
class Swamp:
    """A process in which something hangs.

    Args:
        folder: An empty one, for its store and what it tells.
        places: Where something hangs, such as ``poll+asset``.
        loading: Seconds that a plugin has for its import and for each hook.
        store: Another one's store, if it is not to have its own.
        starting: The deadline of a poll in a process, which has to start within it.
        popen: Starts the process.
    """

    folder: Path
    places: str
    mode: Mode = "thread"
    how: How = "sleeps"
    loading: float = 5.0
    lease: str = "30s"
    store: str = ""
    starting: str = "3s"
    popen: type[subprocess.Popen[str]] = subprocess.Popen

    def __post_init__(self) -> None:
        install(self.folder)
        self.store = self.store or f"sqlite:///{self.folder / 'swamp.db'}"
        here = Path(__file__).parent
        own = {
            FOLDER: str(self.folder),
            HOW: f"{self.places}:{self.how}",
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(here), *sys.path]),
        }
        on = [self.store, self.lease, self.starting]
        with (self.folder / "log").open("wb") as log:
            self.process = self.popen(
                [sys.executable, here / "swamp.py", self.mode, str(self.loading), *on],
                env=os.environ | own,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def told(self, what: str) -> list[list[str]]:
        """Return the words of what was told so far."""
        path = self.folder / what
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def log(self) -> str:
        """What the process has logged."""
        return (self.folder / "log").read_text()

    @property
    def stuck(self) -> list[list[str]]:
        """When, where and in which process something hangs, or has hung."""
        return self.told("stuck")

    @property
    def polls_since(self) -> int:
        """How often the healthy sensor was polled since something hangs."""
        since = float(self.stuck[0][0]) if self.stuck else 0.0
        return sum(float(moment) > since for (moment,) in self.told("begun"))

    def lateness(self) -> list[float]:
        """Return by how many seconds the polls that were due since something hangs began late."""
        since = float(self.stuck[0][0]) if self.stuck else 0.0
        pairs = zip(self.told("due"), self.told("begun"), strict=False)
        return [float(begun) - float(due) for (_, due), (begun,) in pairs if float(due) > since]

    def became(self, place: str) -> Counter[str]:
        """Return what is known of what hung in a place, and how often; nothing if it is not."""
        known: Counter[str] = Counter()
        if place in {"import", "hook"}:
            warned = " ".join(word for line in self.told("warned") for word in line)
            known["plugin named"] = warned.count("'bog' of flowstone-bog 1.0: broken")
        elif place == "observer":
            known["plugin named"] = self.log.count("hook calls unfinished at the end; dropped")
        elif place == "cleanup":
            known["sensor named"] = self.log.count("cleanup did not return within")
        else:
            known.update(self._failures(place))
        return +known

    def _failures(self, place: str) -> list[str]:
        with Flowstone(store=self.store) as flow:
            if place == "asset":
                made = flow.materializations.latest(asset="report")
                return ["timed_out" for each in made if "timeout" in (each.error or "")]
            source = "schedule:sick" if place == "trigger" else "sensor:sick"
            return [str(tick.outcome) for tick in flow.ticks(source=source)]

    def end(self, patience: float = LEAVE) -> float | None:
        """Ask it to end; kill it if it does not.

        Returns:
            The seconds that it took, or None if it had to be killed.
        """
        begin = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return None
        else:
            return time.monotonic() - begin
        finally:
            self.process.kill()
            self.process.wait()


def wait_for(happened: Callable[[], bool], patience: float) -> bool:
    """Wait for something that another process does; say whether it did."""
    waiting = threading.Event()
    end = time.monotonic() + patience
    while not happened():
        if time.monotonic() > end:
            return False
        waiting.wait(0.02)
    return True


def row(place: Place, mode: Mode, how: How, polls: int) -> bool:
    """Let something hang, print what came of it, and say whether it harmed nothing else."""
    with tempfile.TemporaryDirectory(prefix="flowstone-hangs-") as folder:
        frozen = mode == "thread" and how == "holds-gil"
        swamp = Swamp(Path(folder), place, mode, how, lease="3s" if frozen else "30s")
        if place not in {"nowhere", "cleanup"}:
            wait_for(lambda: bool(swamp.stuck), 60)
        over = swamp.process.poll if frozen else lambda: swamp.polls_since >= polls
        wait_for(lambda: bool(over()), 60)
        count, late = swamp.polls_since, sorted(swamp.lateness())
        took = swamp.end()
        figures = "       -        -"
        if late and place != "cleanup":
            figures = f"{median(late) * 1e3:8.1f} {late[-1] * 1e3:8.1f}"
        ended = "killed" if took is None else f"{took:.1f} s"
        known = swamp.became(place)
        found = ", ".join(f"{number} {what}" for what, number in known.items())
        if frozen:
            found = "ended by its watchdog"
        print(f"{place:9} {mode:8} {how:10} {count:6} {figures} {ended:>8}  {found}", flush=True)
        return frozen or (
            count >= polls and took is not None and (place == "nowhere" or found != "?")
        )


def main() -> int:
    """Read the command line, and print a row for each place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--polls", type=int, default=100, help="of the healthy sensor, each row")
    options = parser.parse_args()
    print("hangs in  runs in  how         polls  late, median and worst   ends in  and is")
    print(f"{'':33}(ms)", flush=True)
    sound = [row(*each, options.polls) for each in ROWS]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
