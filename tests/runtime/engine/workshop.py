"""Workshop for engine tests: a pipeline and engines on one store and one clock."""

import threading
import uuid
from datetime import timedelta

from flowstone_core.config.pipeline import Pipeline
from flowstone_core.errors import StoreUnavailableError
from flowstone_core.model.engine import EngineSetup, RunnerInfo
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.partition import encode_partition
from flowstone_core.runtime.engine.local_engine import LocalEngine

PATIENCE = 300
LONG = timedelta(hours=1)
PENDING, RUNNING, RETRYING, COMPLETED, DISCARDED, CANCELLED = MaterializationState


class Workshop:
    """A pipeline and engines on one store and one clock."""

    def __init__(self, store, clock):
        self.store = store
        self.clock = clock
        self.pipeline = Pipeline("test")
        self.asset = self.pipeline.asset
        self.published = []
        self.engines = []

    def engine(self, queue=None, **options):
        """Return an engine with a registered runner whose lease does not expire in the test."""
        now = self.clock.now()
        runner = RunnerInfo(
            uuid.uuid4().hex, "host", 1, "machine", "0", now, now + timedelta(days=3_650)
        )
        self.store.runners.register(runner)
        setup = EngineSetup(
            queue=queue or self.store.queue,
            assets=self.pipeline.assets,
            clock=self.clock,
            runner_id=runner.id,
            **{"publish": self.published.append, **options},
        )
        self.engines.append(LocalEngine(setup))
        return self.engines[-1]

    def run(self):
        """Run all that is due, attempt by attempt."""
        return self.engine().run_once()

    def pass_time_until(self, condition):
        """Let time pass, a second whenever a thread waits for that."""
        while not condition():
            if self.clock.sleepers:
                self.clock.advance(1)

    def ask(self, asset, partition="eu", payload=None):
        """Ask for a partition by hand; return the materialization's number."""
        assets = self.pipeline.assets
        text = encode_partition(partition)
        _, materialization = self.store.materializations.materialize(
            assets[asset], text, assets, self.clock.now(), payload
        )
        return materialization.id

    def get(self, number):
        return self.store.materializations.get(number)

    def outcomes(self, number):
        return [attempt.outcome for attempt in self.store.materializations.attempts(number)]

    def states(self, number):
        """The states that were published, in order."""
        return [item.state for item in self.published if item.id == number]


class Gate:
    """An asset function that says that it runs and waits to be let go."""

    def __init__(self, result=None):
        self.__name__ = "gate"
        self.running = threading.Event()
        self.go = threading.Event()
        self.calls = 0
        self.context = None
        self.result = result

    def __call__(self, context):
        self.calls += 1
        self.context = context
        self.running.set()
        assert self.go.wait(PATIENCE)
        return self.result


class Queue:
    """The store's queue, with some of its methods failing as often as a test says."""

    def __init__(self, queue, **failures):
        self.queue = queue
        self.failures = {name: list(errors) for name, errors in failures.items()}
        self.failed = threading.Event()

    def __getattr__(self, name):
        def call(*args):
            errors = self.failures.get(name)
            if errors:
                self.failed.set()
                raise errors.pop(0)
            return getattr(self.queue, name)(*args)

        return call


def locked():
    return StoreUnavailableError("database is locked")


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "flowstone.engine"]
