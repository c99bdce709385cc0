"""House for runner tests: a pipeline and runners on one store, stepped by hand."""

from dataclasses import replace
from datetime import timedelta

from flowstone_core.config.pipeline import Pipeline
from flowstone_core.model.event import NotTriggered
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor import Sensor, SensorConfig
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.workload import Workload
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.runner import Runner

PATIENCE = 300
LEASE = timedelta(seconds=30)


class Probe(Sensor[SensorConfig, object]):
    """A sensor whose hooks are the class attributes that a test gives it."""

    on_poll = staticmethod(NotTriggered)
    on_cleanup = staticmethod(lambda: None)

    def init(self):
        return 0

    def poll(self, state):
        type(self).polls += 1
        return self.on_poll(state)

    def cleanup(self):
        self.on_cleanup()


def probe(poll=NotTriggered, cleanup=lambda: None):
    hooks = {"on_poll": staticmethod(poll), "on_cleanup": staticmethod(cleanup), "polls": 0}
    return type("Probe", (Probe,), hooks)


class House:
    """A pipeline and runners on one store, stepped by hand on one clock."""

    def __init__(self, store, clock):
        self.store = store
        self.clock = clock
        self.pipeline = Pipeline("test")
        self.pipeline.asset(name="orders")(lambda context: None)
        self.woken = 0
        self.dispatcher = []

    def sensor(self, name, sensor_class, **options):
        self.pipeline.sensor(name, sensor_class, asset="orders", **{"every": "10s", **options})
        return sensor_class

    def wake(self):
        self.woken += 1

    def runner(self, *, store=None, clock=None, threads=4):
        clock = clock or self.clock
        heartbeat = Heartbeat(self.store, clock, LEASE)
        self.store.runners.register(heartbeat.runner)
        dispatcher = HookDispatcher(discover(allow=[]))
        self.dispatcher.append(dispatcher)
        runner = Runner(
            replace(heartbeat.session, store=store or self.store),
            Workload(self.pipeline.assets, self.pipeline.sensors),
            publisher=Publisher(dispatcher),
            redact=Redactor(),
            wake_engine=self.wake,
            poll_threads=threads,
        )
        runner.heartbeat = heartbeat
        return runner

    def opened(self, **options):
        """A runner that has claimed its sensors and polled each of them once."""
        runner = self.runner(**options)
        runner.open()
        self.pass_time(runner, 5)
        return runner

    def pass_time(self, runner, seconds):
        """Let time pass in steps of a second, stepping the runner at each."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            runner.step()
            assert runner.settle(timedelta(seconds=PATIENCE))

    def outcomes(self, name):
        return [tick.outcome for tick in reversed(self.store.ticks.latest(source=f"sensor:{name}"))]
