"""The checks of many changes, and of several at one instant."""

from __future__ import annotations

from flowstone_core.testing.contract.check import check
from flowstone_core.testing.contract.overrides import MINUTE, listed
from flowstone_core.testing.contract.runner_checks import RunnerChecks
from flowstone_core.testing.contract.violation import Violation


class VolumeChecks(RunnerChecks):
    """Checks that none of many is left out."""

    @check("test_a_run_ends_in_materializations")
    def test_events_beyond_the_limit_follow(self) -> None:
        """Of many changes before one poll each one fires, however small the transactions are."""
        with self._sandbox(max_events=2) as sandbox:
            sandbox.run()
            changes = self._make_changes(self.many)
            sandbox.run_until(lambda events: not self._unseen(changes, events))
            unseen = self._unseen(changes, sandbox.events())
            if unseen:
                raise Violation(
                    f"there were {len(changes)} changes between two polls, and {len(unseen)} of "
                    f"them never fired: {listed(unseen)}{sandbox.trouble()}.",
                    why="After a pause, or the first time, there are always many at once.",
                    remedy="Return every event that the poll found: FlowStone commits them "
                    "max_events at a time. Or let the state say how far it was read, and find "
                    "the rest at the next poll.",
                )

    @check("test_events_beyond_the_limit_follow")
    def test_changes_of_one_instant_are_all_found(self) -> None:
        """Of changes at one instant, with polls between them at that instant, each one fires."""
        driver = self._driver()
        self.clock.advance(MINUTE)
        changes = []
        for count in (1, 1, 3):
            changes += [self._change() for _ in range(count)]
            driver.tick("after a change at the same instant as the poll before")
        self.settle()
        self._await(driver)
        driver.drain()
        unseen = self._unseen(changes, driver.found)
        if unseen:
            raise Violation(
                f"of {len(changes)} changes at one instant, with polls between them, "
                f"{listed(unseen)} was never found.",
                why="Clocks of external sources are coarse: what is written in the same second, or "
                "is committed after the poll with a time before it, is passed over for ever.",
                remedy="Do not ask for what is later than the last time that was seen. Ask for "
                "what is not earlier, and remember which of that were seen; or order by time and "
                "id, and remember both.",
            )
