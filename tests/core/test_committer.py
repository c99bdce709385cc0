"""The committer's thread: what it tells others of may raise, and it goes on."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from flowstone_core.asset import Asset, AssetGraph
from flowstone_core.committer import Committer
from flowstone_core.decision import Decision
from flowstone_core.outage import Outage
from flowstone_core.redaction import Redactor
from flowstone_core.tick import SensorMemory, TickCommit, TickOutcome

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)
PATIENCE = 60


def test_who_cannot_hear_of_a_commit_does_not_end_the_thread(store, fake_clock, caplog):
    heard, both = [], threading.Semaphore(0)

    def on_result(result):
        raise RuntimeError("the listener has a bug")

    def on_verdict(verdict):
        heard.append(verdict.committed)
        both.release()
        raise RuntimeError("this one as well")

    assets = AssetGraph([Asset("orders", lambda context: None)])
    store.declare_sensors(["feed"], NOW)
    (memory,) = store.claim_sensors("one", ["feed"], NOW).values()
    committer = Committer(
        store, "one", assets, fake_clock, Redactor(), Outage(), on_result, on_verdict
    )
    committer.start()
    for version in (1, 2):
        after = SensorMemory(version=version, state="1", polled=True)
        outcome = TickOutcome.NOT_TRIGGERED
        commit = TickCommit("feed", outcome, NOW, NOW, memory, after, (), None)
        committer.put(None, Decision(outcome, (commit,)))
        assert both.acquire(timeout=PATIENCE)
        memory = after
    committer.close(PATIENCE)
    assert heard == [True, True]
    assert store.sensor("feed").memory.version == 2
    assert caplog.text.count("could not be told on") == 4
