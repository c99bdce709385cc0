"""Changes on disk that the runner has not loaded: shown beside the values in use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pydantic
import pytest
from click.testing import CliRunner

from flowstone_core import Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig
from flowstone_core.app.runner_view import dump_loaded
from flowstone_core.app.status import SensorHealth
from flowstone_core.cli import main
from flowstone_core.model.clock import SystemClock
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.registration import declare_schedules


class Config(SensorConfig):
    """Settings of each kind."""

    folder: str
    names: frozenset[str] = frozenset({"a", "b", "c"})
    token: pydantic.SecretStr = pydantic.SecretStr("hunter2")
    check: object = None


class Feed(Sensor[Config, object]):
    """Finds nothing."""

    Config = Config

    def init(self) -> object:
        return None

    def poll(self, state: object) -> NotTriggered[object]:
        return NotTriggered(state)


def pipeline_of(**feeds: Mapping[str, object]) -> Pipeline:
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    for name, settings in feeds.items():
        pipeline.sensor(name, Feed, asset="orders", **settings)
    return pipeline


class Shop:
    """A runner that has loaded some sensors, and what is on disk later."""

    def __init__(self, store_url: str) -> None:
        self.store_url = store_url
        self.flows: list[Flowstone] = []

    def flow(self, **feeds: Mapping[str, object]) -> Flowstone:
        self.flows.append(Flowstone(pipeline_of(**feeds), store=self.store_url))
        return self.flows[-1]

    def run(self, **feeds: Mapping[str, object]) -> None:
        """Register a runner that owns the sensors."""
        flow = self.flow(**feeds)
        store = flow._open_store()
        heartbeat = Heartbeat(store, SystemClock(), flow.project.run.lease)
        store.runners.register(heartbeat.runner, dump_loaded(flow.project))
        now = SystemClock().now()
        enabled = [name for name, each in flow.project.sensors.items() if each.settings.enabled]
        store.sensors.declare(flow.project.sensors, now)
        store.sensors.claim(heartbeat.runner.id, enabled, now)


@pytest.fixture
def shop(store_url: str) -> Iterator[Shop]:
    shop = Shop(store_url)
    yield shop
    for flow in shop.flows:
        flow.close()


def test_N3_changed_settings_are_told_and_the_loaded_ones_are_in_use(shop: Shop) -> None:
    shop.run(feed={"folder": "in", "every": "1s"})
    later = shop.flow(feed={"folder": "in", "every": "20s", "enabled": False})
    status = later.sensors.get("feed")
    assert status.every is not None
    assert (status.every.total_seconds(), status.health) == (1, SensorHealth.NEW)
    assert status.not_loaded == ("enabled = false (loaded: true)", "every = 20s (loaded: 1s)")
    facts = " ".join(later.explain("feed")[0].facts)
    assert "Changed on disk, not loaded by the runner (start the runner again)" in facts
    assert "Polled every 1s." in facts
    assert "disabled" not in facts


def test_N3_sensor_enabled_on_disk_is_disabled_until_loaded(shop: Shop) -> None:
    shop.run(feed={"folder": "in", "enabled": False})
    status = shop.flow(feed={"folder": "out"}).sensors.get("feed")
    assert status.health is SensorHealth.DISABLED
    assert status.not_loaded == ("enabled = true (loaded: false)", "folder = out (loaded: in)")


def test_N3_added_and_removed_sensors_are_told(shop: Shop) -> None:
    shop.run(old={"folder": "in"})
    later = shop.flow(new={"folder": "in"})
    told = {each.name: each.not_loaded for each in later.sensors.all()}
    assert told == {"new": ("added on disk",), "old": ("removed on disk",)}
    facts = " ".join(later.explain("old")[0].facts)
    assert "its runner polls it until the runner ends" in facts


def test_N3_equal_settings_and_no_runner_tell_nothing(shop: Shop) -> None:
    first = shop.flow(feed={"folder": "in", "check": object()})
    assert first.sensors.get("feed").not_loaded == ()
    shop.run(feed={"folder": "in", "check": object(), "names": ["c", "b", "a"]})
    later = shop.flow(feed={"folder": "in", "check": object(), "names": ["a", "b", "c"]})
    assert later.sensors.get("feed").not_loaded == ()


def test_N3_secrets_are_not_stored(shop: Shop) -> None:
    shop.run(feed={"folder": "in", "token": "hunter3"})
    store = shop.flows[0]._open_store()
    (loaded,) = store.runners.loaded(SystemClock().now()).values()
    assert "hunter" not in loaded
    assert json.loads(loaded)["sensors"]["feed"]["folder"] == "in"


def test_N3_what_another_version_loaded_is_ignored(shop: Shop) -> None:
    shop.run(feed={"folder": "in"})
    store = shop.flows[0]._open_store()
    (runner,) = store.runners.all()
    store.runners.register(runner, "[]")
    assert shop.flow(feed={"folder": "in"}).sensors.get("feed").not_loaded == ("added on disk",)
    store.runners.register(runner, '{"sensors": {"feed": {"every": "soon"}}}')
    status = shop.flow(feed={"folder": "in"}).sensors.get("feed")
    assert "every = 30s (loaded: soon)" in status.not_loaded


def test_N3_commands_tell_what_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "setup.cfg"
    text = (
        "[flowstone]\npipelines = shop_n3:pipeline\n[flowstone:sensor:feed]\ntype = webhook\n"
        "url = http://127.0.0.1:1/x\npartition = all\nasset = orders\nevery = 1s\n"
    )
    config.write_text(text)
    lines = "from flowstone_core import Pipeline\npipeline = Pipeline('shop')\n"
    module = lines + "pipeline.asset(name='orders')(lambda context: None)\n"
    (tmp_path / "shop_n3.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    with Flowstone(config=config) as flow:
        store = flow._open_store()
        heartbeat = Heartbeat(store, SystemClock(), flow.project.run.lease)
        store.runners.register(heartbeat.runner, dump_loaded(flow.project))
    config.write_text(text.replace("1s", "20s"))
    told = "changed on disk, not loaded by the runner: feed: every = 20s (loaded: 1s)"
    for command in (["sensors", "list"], ["status"]):
        assert told in CliRunner().invoke(main, command).stdout
    shown = json.loads(CliRunner().invoke(main, ["sensors", "show", "feed", "--json"]).stdout)
    assert shown["not_loaded"] == ["every = 20s (loaded: 1s)"]


def schedules_of(**crons: str) -> Pipeline:
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    for name, cron in crons.items():
        pipeline.schedule("orders", name=name, cron=cron)
    return pipeline


def test_N3_changed_schedules_are_told_while_a_runner_lives(store_url: str) -> None:
    first = schedules_of(nightly="0 2 * * *", old="0 3 * * *")
    with Flowstone(first, store=store_url) as flow:
        store, factory = flow._open_store(), flow.schedules.factory
        declare_schedules(store, factory.declared.values(), factory.make, SystemClock())
        heartbeat = Heartbeat(store, SystemClock(), flow.project.run.lease)
    later = schedules_of(nightly="0 4 * * *", new="0 5 * * *")
    with Flowstone(later, store=store_url) as flow:
        assert flow.schedules.get("nightly").text == "0 4 * * *"
        assert not any(each.not_loaded for each in flow.schedules.all())
        flow._open_store().runners.register(heartbeat.runner)
        told = {each.name: each.not_loaded for each in flow.schedules.all()}
        assert told == {
            "new": ("added on disk",),
            "nightly": ("text = 0 4 * * * (loaded: 0 2 * * *)",),
            "old": ("removed on disk",),
        }
        assert flow.schedules.get("nightly").text == "0 2 * * *"
        assert flow.schedules.upcoming("nightly")[0].at.hour == 2
        facts = " ".join(flow.explain("nightly")[0].facts)
        flow.schedules.add("orders", name="extra", cron="0 6 * * *")
        assert flow.schedules.get("extra").not_loaded == ()
    assert "Changed on disk, not loaded by the runner (start the runner again): text" in facts
