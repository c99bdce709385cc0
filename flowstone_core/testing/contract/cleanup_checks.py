"""The checks of how a sensor ends, and of what it reads beside its external source."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from flowstone_core.model.sensor import AnySensor
from flowstone_core.testing.contract.check import check
from flowstone_core.testing.contract.overrides import ContractOverrides
from flowstone_core.testing.contract.violation import Violation, told
from flowstone_core.testing.contract.wall_clock import reads
from flowstone_core.testing.leaks import Holdings, left_behind


class CleanupChecks(ContractOverrides):
    """Checks that nothing remains of a sensor, and that its time is the context's."""

    @check()
    def test_cleanup_may_come_at_any_time(self) -> None:
        """`cleanup` succeeds before the first poll, after one, twice, and after a failure."""
        driver = self._driver(drained=False)
        _clean_up(driver.new_sensor(), "before init and poll")
        polled = driver.new_sensor()
        driver.poll(polled)
        _clean_up(polled, "after a poll")
        _clean_up(polled, "a second time")
        try:
            broken = self.break_source()
        except pytest.skip.Exception:
            return
        with broken:
            failed = driver.new_sensor()
            driver.poll(failed)
            _clean_up(failed, "after a poll that failed, while the external source still did")

    @check("test_cleanup_may_come_at_any_time")
    def test_nothing_is_left_behind(self) -> None:
        """After `cleanup` no thread, open file, socket or child process is left."""
        self._live()  # what is loaded or made once for all is not a leak
        gc.collect()
        before = Holdings.now()
        ended = self._live()
        left = left_behind(before, self.patience)
        if left:
            raise Violation(
                f"an instance was made, polled and cleaned up, and left behind: {', '.join(left)}.",
                why="A runner makes an instance at each start and 'flowstone check' many more; "
                "what each leaves behind adds up until files or threads run out.",
                remedy="Close in cleanup what the instance holds, and in a finally or with what "
                "a poll opens; end and join threads, and wait for children.",
            )
        del ended  # until here it held what it did not close

    @check("test_a_change_fires")
    def test_it_asks_its_context_for_the_time(self) -> None:
        """A poll reads the time from `context.clock`, and not from the machine."""
        driver = self._driver()
        self._make_changes(1, driver)
        with reads(type(driver.sensor).__module__) as found:
            driver.poll()
        if found:
            raise Violation(
                f"poll reads the wall clock by itself: {', '.join(sorted(set(found))[:3])}.",
                why="No test can set that time, so the sensor cannot be tested at "
                "midnight, after a pause, or when the clock is set back.",
                remedy="Use self.context.clock.now().",
            )

    def _live(self) -> AnySensor:
        driver = self._driver(drained=False)
        driver.commit(driver.poll())
        self._make_changes(1, driver)
        driver.commit(driver.poll())
        driver.stop()
        return driver.sensor


def _clean_up(sensor: AnySensor, when: str) -> None:
    call: Callable[[], None] = sensor.cleanup
    try:
        call()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it becomes the message
        raise Violation(
            f"cleanup, called {when}, raised {told(error)}.",
            why="It is called at the end whatever happened before, and what it does not close "
            "stays open.",
            remedy="Set what it closes to None in __init__, close it if it is not None, and set "
            "it to None again.",
        ) from None
