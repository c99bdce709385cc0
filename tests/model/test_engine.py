"""The engine contract: what an engine of a plugin need not say."""

from flowstone_core.model.asset import AssetGraph
from flowstone_core.model.engine import Engine, EngineSetup
from flowstone_core.testing import FakeClock


class Remote(Engine):
    """An engine without threads in this process."""

    def start(self):
        """Start nothing."""

    def wake(self):
        """Check nothing."""

    def drain(self, timeout=None):
        return True

    def stop(self, grace):
        return True


def test_engine_without_threads_has_none_stuck_and_no_problem():
    engine = Remote(
        EngineSetup(queue=None, assets=AssetGraph([]), clock=FakeClock(), runner_id="one")
    )
    assert (engine.stuck, engine.problem, engine.blocked) == (0, None, False)
