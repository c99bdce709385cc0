"""Desk for schedule tests: one store, one clock, and runners that are stepped by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property

from flowstone_core.app.schedules import Schedules
from flowstone_core.config.file.reader import Config
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.project import Project
from flowstone_core.config.validation import validate
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.model.redaction import Redactor
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.plugin.registry import Plugins
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.workload import Workload
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.runner import Runner
from tests.attempt_ends import finish

PATIENCE = timedelta(seconds=300)
START = datetime(2026, 1, 15, 12, 30, tzinfo=UTC)
HOURLY = "0 * * * *"


@cache
def plugins() -> Plugins:
    return discover(allow=[])


@dataclass
class Desk:
    """One store, one clock, and runners that are stepped by hand."""

    store: object
    clock: object
    pipeline: Pipeline = field(default_factory=lambda: Pipeline("test"))
    dispatcher: list[HookDispatcher] = field(default_factory=list)

    def __post_init__(self):
        self.pipeline.asset(name="report")(lambda context: None)
        self.clock.set_now(START)

    def schedule(self, asset="report", **options):
        given = {"cron": HOURLY, "partition": "${instant}", **options}
        wanted = {key: value for key, value in given.items() if value is not None}
        self.pipeline.schedule(asset, **wanted)

    @cached_property
    def project(self) -> Project:
        return validate(Config(), pipelines=[self.pipeline], plugins=plugins())

    @property
    def schedules(self) -> Schedules:
        return Schedules(lambda: self.store, self.project, self.clock)

    def runner(self, store=None) -> Runner:
        heartbeat = Heartbeat(self.store, self.clock, timedelta(days=4_000))
        self.store.runners.register(heartbeat.runner)
        dispatcher = HookDispatcher(plugins())
        self.dispatcher.append(dispatcher)
        schedules = self.schedules
        factory = schedules.factory
        runner = Runner(
            replace(heartbeat.session, store=store or self.store),
            Workload(self.project.assets, {}, factory.declared, build_schedule=factory.make),
            publisher=Publisher(dispatcher),
            redact=Redactor(),
            wake_engine=lambda: None,
            poll_threads=2,
        )
        runner.schedules = schedules
        runner.heartbeat = heartbeat
        return runner

    def opened(self) -> Runner:
        runner = self.runner()
        runner.open()
        self.look(runner)
        return runner

    def look(self, runner):
        """Let the runner see what there is to see now, once."""
        runner.reconcile()
        while True:
            runner.step()
            assert runner.settle(PATIENCE)
            if runner.step() != 0.0:
                break
        assert runner.settle(PATIENCE)

    def until(self, runner, moment, step=timedelta(minutes=5)):
        """Let time pass, the runner looking as often as a real one would have to."""
        while self.clock.now() < moment:
            self.clock.advance(min(step, moment - self.clock.now()))
            self.look(runner)

    def sleep_until(self, moment):
        """Have the machine sleep: the wall clock goes on, the monotonic one does not."""
        self.clock.set_now(moment)

    def events(self):
        return list(reversed(self.store.events.latest(limit=100_000)))

    def fired(self):
        return [instant_of(event) for event in self.events()]

    def skipped(self):
        """Every skipped range: its reason, its first and last instants, and how many."""
        found = [stored.skip for stored in reversed(self.store.skips.latest(limit=1_000))]
        return [(skip.reason, hour(skip.first), hour(skip.last), skip.count) for skip in found]

    def waiting(self):
        rows = self.store.materializations.latest(limit=1_000)
        return [row.id for row in reversed(rows) if row.waiting_for is not None]

    def finish(self, state=MaterializationState.COMPLETED):
        """Start and end what may start; return how many did."""
        failed = state is MaterializationState.DISCARDED
        outcome = AttemptOutcome.FAILED if failed else AttemptOutcome.COMPLETED
        assets = self.project.assets
        now = self.clock.now()
        claims = self.store.queue.claim("ticker", 1_000, assets, now).claims
        for claim in claims:
            end = AttemptResult(outcome, state)
            finish(self.store.queue, claim, end, assets, now)
        return len(claims)


def instant_of(event):
    return datetime.fromisoformat(event.key)


def hour(moment):
    return f"{moment:%H:%M}"


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-15T{text}:00Z")
