"""The checks that run a sensor for real: in a Flowstone with a store, and in many threads."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flowstone_core.model.sensor import PollContext
from flowstone_core.testing.contract.check import check
from flowstone_core.testing.contract.driver import NAME, quietly, shown_events
from flowstone_core.testing.contract.failure_checks import InThread
from flowstone_core.testing.contract.overrides import ContractOverrides, listed
from flowstone_core.testing.contract.sandbox import Sandbox, declared
from flowstone_core.testing.contract.violation import Violation, told


class RunnerChecks(ContractOverrides):
    """Checks in a real runner's conditions."""

    @check("test_it_goes_on_after_a_restart")
    def test_each_call_may_come_in_another_thread(self) -> None:
        """Created in one thread, an instance is polled and cleaned up in others."""
        driver = self._driver()
        changes = self._make_changes(1, driver)
        calls: list[tuple[str, Callable[[], object]]] = [
            ("made", driver.restart),
            ("polled", driver.drain),
            ("polled again", driver.drain),
            ("asked to clean up", lambda: driver.sensor.cleanup()),  # noqa: PLW0108 - a new one
        ]
        stay = threading.Event()
        for done, call in calls:
            error = self._error_in_thread(call, stay)
            if error is not None:
                stay.set()
                raise Violation(
                    f"{done} in a separate thread, it failed: {error}",
                    why="A runner has a pool of threads: init, poll and cleanup never come at "
                    "once, but each may come in another thread.",
                    remedy="Do not bind what the instance holds to a thread "
                    "(sqlite3: check_same_thread=False); set no signal handlers.",
                )
        stay.set()
        self._require(changes, driver, "by polls in other threads")

    @check(
        "test_a_replay_gives_the_same_keys",
        "test_a_quiet_poll_leaves_the_state_alone",
        "test_each_call_may_come_in_another_thread",
    )
    def test_a_run_ends_in_materializations(self) -> None:
        """In a Flowstone with a store, each change is materialized once, also after a crash."""
        with self._sandbox() as sandbox:
            sandbox.run()
            before = sandbox.events()
            changes = self._make_changes(2)
            with sandbox.flow() as crashed:  # polled, and the process ended before the commit
                crashed.sensors.poll(NAME)
            self.settle()
            sandbox.run_until(lambda events: not self._unseen(changes, events))
            events = sandbox.events()
            unseen = self._unseen(changes, events[len(before) :])
            if unseen or sandbox.unfinished():
                raise Violation(
                    f"{listed(unseen or sandbox.unfinished())} was not made by a Flowstone that "
                    f"ran the sensor{sandbox.trouble()}.",
                    why="This is how it runs for those who use it.",
                    remedy="Let the class take (config, context) as Sensor does, and need "
                    "nothing that only make_sensor gives it.",
                )
            self.settle()
            sandbox.run()
            again = sandbox.events()[len(events) :]
            if again:
                raise Violation(
                    f"a Flowstone was started again, and found {shown_events(again)} although "
                    "nothing was changed outside.",
                    why="It would be made again after every restart.",
                    remedy="Remember in the state what was seen.",
                )

    @contextmanager
    def _sandbox(self, **options: object) -> Iterator[Sandbox]:
        sensor = self.make_sensor(PollContext(NAME, clock=self.clock))
        quietly(sensor.cleanup)
        pipeline = declared(sensor, options, self.assets)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            url = f"sqlite:///{Path(folder) / 'flowstone.db'}"
            yield Sandbox(pipeline, url, self.clock, self.settle)

    def _error_in_thread(self, call: Callable[[], object], stay: threading.Event) -> str | None:
        try:
            ended = InThread(call, stay).wait(self.patience)
        except Violation as found:
            return found.seen
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes the message
            return f"{told(error)}."
        return None if ended else "it did not come back."
