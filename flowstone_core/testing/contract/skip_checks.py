"""The check that a sensor reports what it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from flowstone_core.model.event import Skipped
from flowstone_core.testing.contract.check import check
from flowstone_core.testing.contract.driver import Driver, healthy
from flowstone_core.testing.contract.identity import identifies, mentions
from flowstone_core.testing.contract.overrides import MINUTE, ContractOverrides, listed
from flowstone_core.testing.contract.violation import Violation

_WHY = "Nobody learns that data is missing: health is ok, and no event, error or log line tells it."


class SkipChecks(ContractOverrides):
    """Check that nothing a sensor skips is silent."""

    @check("test_nothing_is_lost_when_a_commit_fails")
    def test_skipped_items_are_told_once(self) -> None:
        """Items left out for good are reported in a tick, with count and example, and only once."""
        driver = self._driver()
        count = 1 if self.sees_only_the_last else 2
        changes = self._make_changes(1, driver)
        driver.drain()
        before = len(driver.skipped)
        items = [self.change_to_skip(next(self._numbers)) for _ in range(count)]
        self.settle()
        if not self.sees_only_the_last:
            changes += self._make_changes(1)
        self._await(driver)
        self._tell_again_after_a_failed_commit(driver)
        self._pass_time(driver)
        skipped = driver.skipped[before:]
        self._judge(items, skipped, driver)
        self._require(changes, driver, "beside what was left out")
        driver.restart()
        self._pass_time(driver)
        if len(driver.skipped) > before + len(skipped):
            raise Violation(
                f"{_shown(driver.skipped[before + len(skipped) :])} was told again, and nothing "
                "was changed outside.",
                why="The count would grow at each poll, and each poll would write to the store.",
                remedy="Remember in the state which items were told, or how far they were told.",
            )

    def _tell_again_after_a_failed_commit(self, driver: Driver) -> None:
        first = healthy(driver.poll())
        for name, sensor in (("the same instance", driver.sensor), ("a fresh one", None)):
            self.settle()
            again = healthy(driver.poll(sensor or driver.new_sensor()))
            if _count(again.skipped) < _count(first.skipped):
                raise Violation(
                    f"a poll told that it left out {_shown(first.skipped)}. Given the same state "
                    f"again, as after a commit that failed, {name} told {_shown(again.skipped)}.",
                    why="What was told is stored together with the state or not at all.",
                    remedy="Let the state that poll is given decide what was told already.",
                )

    def _pass_time(self, driver: Driver) -> None:
        for pause in (timedelta(0), MINUTE, timedelta(hours=1)):
            self.clock.advance(pause)
            self.settle()
            driver.drain()

    def _judge(self, items: list[str], skipped: list[Skipped], driver: Driver) -> None:
        fired = [item for item in items if any(identifies(item, each) for each in driver.found)]
        if fired:
            raise Violation(
                f"change_to_skip says that {listed(fired)} is left out for good, and it fired.",
                why="Then nothing is known of the items that are left out.",
                remedy="Let change_to_skip make an item that the sensor leaves out; or say in "
                "not_applicable that there are none, and why.",
            )
        told = _count(skipped)
        if not told:
            raise Violation(
                f"{listed(items)} was left out for good, and no tick tells it.",
                why=_WHY,
                remedy="Return Triggered(..., skipped=[Skipped(reason, count, example)]), or the "
                "same of NotTriggered, in the poll that gives the items up.",
            )
        if told != len(items):
            raise Violation(
                f"{listed(items)} was left out for good, and the ticks count {told} items: "
                f"{_shown(skipped)}.",
                why="The count is how much data is missing.",
                remedy="Count each item that is left out once, in the poll that gives it up.",
            )
        if not any(mentions(each.example, item) for each in skipped for item in items):
            raise Violation(
                f"{listed(items)} was left out for good, and the ticks name none of them: "
                f"{_shown(skipped)}.",
                why="A count alone does not say where to look.",
                remedy="Name one of the items as the example; or have change_to_skip return a "
                "text that the example has.",
            )


def _count(skipped: Sequence[Skipped]) -> int:
    return sum(item.count for item in skipped)


def _shown(skipped: Sequence[Skipped]) -> str:
    return "; ".join(map(str, skipped[:3])) or "nothing"
