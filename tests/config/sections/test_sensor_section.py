from datetime import timedelta

import pytest

from flowstone_core.config.declarations.sensor_declaration import declare_sensor
from flowstone_core.config.file.section import Section, Setting, Swallowed
from flowstone_core.config.sections.sensor_section import SensorSections
from flowstone_core.model.asset import Asset, AssetGraph
from flowstone_core.model.sensor import Sensor, SensorConfig
from flowstone_core.plugin.contributions import Contribution
from flowstone_core.plugin.entry_points import PluginReport
from flowstone_core.plugin.registry import Plugins

ASSETS = AssetGraph([Asset("orders", lambda context: None)])


class TopicConfig(SensorConfig):
    topic: str


class TopicSensor(Sensor[TopicConfig, int]):
    Config = TopicConfig

    def init(self):
        return 0

    def poll(self, state):
        raise NotImplementedError


def report(name, distribution, status="ok", error=None, hint=None, sensors=()):
    return PluginReport(name, distribution, "1.0", status, error, hint, sensors, (), ())


def section(**values):
    settings = {
        key: Setting(value, line, value) for line, (key, value) in enumerate(values.items(), 2)
    }
    return Section("flowstone:sensor:a", 1, settings, "f.cfg")


def sections(*reports, sensors=True, declared=False):
    topic = Contribution("topic", TopicSensor, "topics", "flowstone-topics", "1.0")
    found = {}
    if declared:
        options = {"topic": "t", "every": "7s", "enabled": False}
        declaration, _ = declare_sensor(
            "a", TopicSensor, options, assets=ASSETS, asset="orders", where="shop.py:9"
        )
        found["a"] = declaration
    provided = {"topic": topic} if sensors else {}
    return SensorSections(Plugins(reports=reports, sensors=provided, engines={}), ASSETS, found)


def said(reader, given, name="a"):
    declaration, problems = reader.declare(name, given)
    assert declaration is None
    return [str(problem) for problem in problems]


def test_section_becomes_a_declaration():
    given = section(type="topic", topic="t", every="5s", asset="orders")
    declaration, problems = sections().declare("a", given)
    assert problems == []
    assert declaration.sensor_class is TopicSensor
    assert declaration.config.topic == "t"
    assert declaration.settings.every == timedelta(seconds=5)
    assert (declaration.asset, declaration.where) == ("orders", "f.cfg:1")


def test_W5_section_without_an_asset_is_refused_once(monkeypatch):
    monkeypatch.setattr(TopicSensor, "asset_required", True)
    assert said(sections(), section(type="topic", topic="t")) == [
        (
            "f.cfg:1: [flowstone:sensor:a] asset: missing setting (its events name no asset: "
            "give it an asset, or a function as on_trigger)"
        )
    ]
    (problem,) = said(sections(), section(type="topic", topic="t", asset="other"))
    assert problem.startswith("f.cfg:4: [flowstone:sensor:a] asset: unknown asset 'other'")
    # What is wrong with the function is said where it is loaded.
    _, problems = sections().declare("a", section(type="topic", topic="t", on_trigger="a:b"))
    assert problems == []


def test_invalid_name_is_a_problem():
    assert said(sections(), section(type="topic", topic="t"), "a:b")[0].startswith(
        "f.cfg:1: invalid sensor name 'a:b'"
    )
    assert said(sections(), section(type="topik"), "a:b")[0].startswith(
        "f.cfg:1: invalid sensor name 'a:b'"
    )


def test_missing_type_is_a_problem():
    assert said(sections(), section(topic="t", every="x", asset="no"))[0::2] == [
        ("f.cfg:4: [flowstone:sensor:a] asset: unknown asset 'no' (declared so far: orders)"),
        said(sections(), section(topic="t", every="x"))[1],
    ]
    assert said(sections(), section(topic="t")) == [
        (
            "f.cfg:1: [flowstone:sensor:a]: missing setting 'type' "
            "(write type = ...; known types: topic)"
        )
    ]
    assert said(sections(sensors=False), section()) == [
        (
            "f.cfg:1: [flowstone:sensor:a]: missing setting 'type' "
            "(write type = ...; known types: none, no plugin provides any)"
        )
    ]


def test_missing_type_suggests_a_declared_sensor():
    reader = sections(declared=True)
    reader.declared["new_orders"] = reader.declared.pop("a")
    assert said(reader, section(every="5s"), "new_order") == [
        (
            "f.cfg:1: [flowstone:sensor:a]: missing setting 'type' "
            "(to override a sensor of a pipeline: did you mean 'new_orders'?)"
        )
    ]


UNKNOWN = "f.cfg:2: [flowstone:sensor:a] type: unknown sensor type "


@pytest.mark.parametrize(
    ("kind", "reports", "text"),
    [
        ("topik", (), UNKNOWN + "'topik' (did you mean 'topic'?)"),
        ("else", (), UNKNOWN + "'else' (known types: topic)"),
        (
            "s3_file_arrival",
            (),
            UNKNOWN + "'s3_file_arrival' (flowstone-s3 provides it: pip install flowstone-s3)",
        ),
        ("s3_file_arival", (), UNKNOWN + "'s3_file_arival' (did you mean 's3_file_arrival'?)"),
        (
            "else",
            (report("x", "flowstone-x", "broken", "ImportError: boom"),),
            UNKNOWN + "'else' (but plugin 'x' of flowstone-x 1.0 is broken: ImportError: boom)",
        ),
        (
            "s3_file_arrival",
            (report("s3", "flowstone-s3", "broken", "ImportError: boto3", "pip install boto3"),),
            (
                "f.cfg:2: [flowstone:sensor:a] type: sensor type 's3_file_arrival' is unavailable: "
                "plugin 's3' of flowstone-s3 1.0 is broken: ImportError: boto3 (pip install boto3)"
            ),
        ),
        (
            "other",
            (
                report("y", "flowstone-y", sensors=("other",)),
                report("x", "flowstone-x", "blocked", sensors=("other",)),
            ),
            (
                "f.cfg:2: [flowstone:sensor:a] type: sensor type 'other' is unavailable: "
                "plugin 'x' of flowstone-x 1.0 is blocked: unknown reason"
            ),
        ),
    ],
)
def test_unknown_type_gets_a_hint(kind, reports, text):
    assert said(sections(*reports), section(type=kind)) == [text]


def test_type_from_the_environment_is_not_shown():
    settings = {"type": Setting("canary-1", 2, "***", ("canary-1",))}
    given = Section("flowstone:sensor:a", 1, settings, "f.cfg")
    assert said(sections(), given) == [UNKNOWN + "'***' (known types: topic)"]


def test_duplicate_of_a_pipelines_sensor_is_a_problem():
    assert said(sections(declared=True), section(type="topic", topic="t")) == [
        (
            "f.cfg:2: [flowstone:sensor:a]: duplicate sensor 'a' "
            "(first declared at shop.py:9; without 'type' this section overrides it)"
        )
    ]


def test_override_keeps_the_pipelines_other_settings():
    reader = sections(declared=True)
    declaration, problems = reader.declare("a", section(every="1m", max_events="5"))
    assert problems == []
    assert declaration.settings.every == timedelta(minutes=1)
    assert declaration.settings.max_events == 5
    assert declaration.settings.enabled is False
    assert declaration.settings.model_fields_set == {"every", "max_events", "enabled"}
    assert (declaration.where, declaration.asset) == ("shop.py:9", "orders")
    assert declaration.config is reader.declared["a"].config


def test_override_of_other_settings_is_refused():
    settings = {
        "every": Setting("never", 2, swallowed=(Swallowed("deadline", 3, likely=True),)),
        "topic": Setting("t", 4),
        "evry": Setting("1s", 5),
        "token": Setting("", 6),
        "canary": Setting("=", 7),
    }
    given = Section("flowstone:sensor:a", 1, settings, "f.cfg")
    messages = sorted(said(sections(declared=True), given), key=lambda text: text[6])
    assert [message[:45].split(": ")[0] for message in messages] == [
        f"f.cfg:{line}" for line in (3, 4, 5, 6, 7)
    ]
    assert messages[1].startswith(
        "f.cfg:4: [flowstone:sensor:a] topic: cannot be set here: the sensor is declared at "
        "shop.py:9 (a section without 'type' sets only backoff, "
    )
    assert messages[2].endswith("(did you mean 'every'?)")
    assert "canary" not in messages[4]


def test_indented_and_possibly_secret_settings_are_problems():
    settings = {
        "type": Setting("topic", 2),
        "topic": Setting("t", 3, swallowed=(Swallowed("asset", 4, likely=True),)),
        "token": Setting("", 5),
        "canary": Setting("=", 6),
    }
    given = Section("flowstone:sensor:a", 1, settings, "f.cfg")
    messages = said(sections(), given)
    assert [message.split(": ")[0] for message in messages] == [f"f.cfg:{n}" for n in (4, 6, 5)]
    assert "canary" not in "".join(messages)
