"""Run of one claimed attempt, for engines that receive claims in another process or job."""

from __future__ import annotations

from collections.abc import Sequence

from flowstone_core.model.engine import EngineSetup
from flowstone_core.model.materialization import Claim
from flowstone_core.runtime.engine.asset_host import ChildPool
from flowstone_core.runtime.engine.execution import Execution
from flowstone_core.runtime.engine.result_writer import ResultWriter
from flowstone_core.runtime.isolation.thread_pool import ThreadPool


def run_attempt(claim: Claim, setup: EngineSetup) -> None:
    """Run one claimed attempt to its end and commit its result; return when both are done.

    The asset's timeout, ``run_in``, back-off and error rules apply. A commit is retried until the
    store accepts it. Nothing is raised for a failed attempt: its error is in the store.

    Args:
        claim: The attempt, as `MaterializationQueue.claim` returned it.
        setup: The engine's setup; its ``assets`` must contain the claimed asset.
    """
    done = setup.clock.waker()
    ended: list[Execution] = []

    def on_end(executions: Sequence[Execution]) -> None:
        ended.extend(executions)
        done.set()

    writer = ResultWriter(setup, on_end)
    children = ChildPool(setup.redact)
    threads = ThreadPool("flowstone-asset", setup.clock, 1)
    try:
        writer.start()
        threads.submit(Execution(claim, setup, writer.put, children))
        while not ended:
            done.wait(threads.expire())
    finally:
        threads.close()
        children.close()
        writer.close()
