"""``flowstone plugins``."""

import pytest

GREETER = """
import click
from flowstone_core import NotTriggered, Sensor, SensorConfig, hookimpl
from pydantic import Field

class GreetingConfig(SensorConfig):
    whom: str = Field(description="who is greeted")

class Greeting(Sensor[GreetingConfig, None]):
    '''Fires when somebody is to be greeted.'''
    Config = GreetingConfig
    def init(self): ...
    def poll(self, state):
        return NotTriggered(state)

class Silent(Sensor[SensorConfig, None]):
    __doc__ = None
    def init(self): ...
    def poll(self, state):
        return NotTriggered(state)

@hookimpl
def flowstone_sensors():
    return {"greeting": Greeting, "silent": Silent}

@hookimpl
def flowstone_commands():
    return {"greet": click.Command("greet"), "check": click.Command("check")}

@hookimpl
def flowstone_triggered(event): ...
"""


@pytest.fixture
def greeter(shop):
    shop.install("flowstone-greeter", "greeter", GREETER)
    return shop


def by_name(rows):
    return {row["name"]: row for row in rows}


def test_contributions_of_plugins_are_listed(greeter, documented):
    rows = greeter.json("plugins", "list")
    assert set(rows[0]) == documented("plugins", "list")
    assert by_name(rows)["greeter"] == {
        "name": "greeter",
        "distribution": "flowstone-greeter",
        "version": "1.2",
        "status": "ok",
        "error": None,
        "hint": None,
        "sensors": ["greeting", "silent"],
        "triggers": [],
        "engines": [],
        "watches": ["flowstone_triggered"],
        "commands": ["greet"],
    }
    assert by_name(rows)["builtin"]["engines"] == ["local"]
    table = greeter.lines("plugins", "list")
    assert table[0] == ["PLUGIN", "DISTRIBUTION", "VERSION", "STATUS", "PROVIDES", "ERROR"]
    assert [
        "greeter",
        "flowstone-greeter",
        "1.2",
        "ok",
        "sensors: greeting, silent; commands: greet; watches: flowstone_triggered",
    ] in table


def test_hidden_command_is_a_warning(greeter):
    assert greeter.run("plugins", "list").stderr == (
        "warning: plugin 'greeter': FlowStone's own command hides its command 'check'\n"
    )


def test_broken_plugins_are_listed_with_their_cause(shop):
    shop.install("flowstone-broken", "broken", "import nothing_of_this_name\n")
    rude = (
        "from flowstone_core import hookimpl\n"
        "@hookimpl\ndef flowstone_commands(): raise SystemExit('bye')\n"
    )
    shop.install("flowstone-rude", "rude", rude)
    found = by_name(shop.json("plugins", "list"))
    assert found["broken"]["status"] == "broken"
    assert "nothing_of_this_name" in found["broken"]["error"]
    assert found["rude"]["status"] == "broken"
    assert "bye" in found["rude"]["error"]
    assert found["s3"]["status"] == "ok"
    assert "nothing_of_this_name" in shop.run("plugins", "list").stdout
    assert "nothing_of_this_name" in shop.run("plugins", "show", "broken").stdout


def test_plugins_are_listed_without_a_configuration(empty_folder):
    result = empty_folder.run("plugins", "list")
    assert "flowstone-s3" in result.stdout
    assert result.stderr == ""
    assert list(empty_folder.folder.glob("*.db")) == []


@pytest.mark.parametrize(
    "text",
    [b"[flowstone]\nengien = x\npipelines = nowhere:pipeline\n", b"[flowstone\nx", b"\xff\x00"],
)
def test_plugins_are_listed_with_an_invalid_configuration(shop, text):
    (shop.folder / "setup.cfg").write_bytes(text)
    assert "flowstone-s3" in shop.run("plugins", "list").stdout
    assert shop.json("plugins", "show", "s3_file_arrival")["distribution"] == "flowstone-s3"


def test_plugins_outside_the_allow_list_are_blocked(greeter):
    greeter.write(settings="plugins =\n    flowstone-greeter\n")
    found = by_name(greeter.json("plugins", "list"))
    assert {name: row["status"] for name, row in found.items()} == {
        "builtin": "ok",
        "db": "blocked",
        "greeter": "ok",
        "http": "blocked",
        "s3": "blocked",
    }


def test_sensor_type_is_shown_with_its_settings(greeter):
    result = greeter.run("plugins", "show", "greeting")
    head, doc, *_ = result.stdout.split("\n\n")
    assert head == "greeting, plugin 'greeter' of flowstone-greeter 1.2"
    assert doc == "Fires when somebody is to be greeted."
    rows = greeter.lines("plugins", "show", "greeting")
    assert ["whom", "text", "(required)", "who is greeted"] in rows
    assert ["every", "duration", "30s", "the interval between polls, start to start"] in rows
    assert "\n(no documentation)\n\nIts settings:\n\nnone\n" in (
        greeter.run("plugins", "show", "silent").stdout
    )


def test_a_sensor_type_as_json(greeter):
    shown = greeter.json("plugins", "show", "greeting")
    common = shown.pop("common_settings")
    assert shown == {
        "type": "greeting",
        "plugin": "greeter",
        "distribution": "flowstone-greeter",
        "version": "1.2",
        "doc": "Fires when somebody is to be greeted.",
        "settings": [
            {
                "name": "whom",
                "type": "text",
                "required": True,
                "default": None,
                "description": "who is greeted",
            }
        ],
    }
    assert [row["name"] for row in common][:2] == ["every", "deadline"]


def test_long_description_is_shown_whole(shop):
    assert (
        "named groups make the partition" in shop.run("plugins", "show", "s3_file_arrival").stdout
    )
    assert "…" not in shop.run("plugins", "show", "s3_file_arrival").stdout


def test_a_plugin_is_shown(greeter):
    text = greeter.run("plugins", "show", "greeter").stdout
    assert "distribution: flowstone-greeter\n" in text
    assert "commands:     greet\n" in text
    assert "error" not in text
    assert greeter.json("plugins", "show", "greeter")["version"] == "1.2"


def test_unknown_name_exits_1(greeter):
    wrong = greeter.run("plugins", "show", "greting", code=1)
    assert wrong.stderr.startswith("error: unknown plugin, sensor type or trigger 'greting'")
    assert "did you mean 'greeting'?" in wrong.stderr
    listed = greeter.run("plugins", "show", "xyz", code=1).stderr.partition("known: ")[2]
    assert {"builtin", "cron", "greeter", "greeting", "s3_file_arrival"} < set(
        listed.rstrip(")\n").split(", ")
    )


def test_blocked_plugin_shows_nothing_of_its_namesake(greeter, monkeypatch):
    greeter.install("flowstone-other", "other", "")
    points = greeter.folder / "flowstone_other-1.2.dist-info" / "entry_points.txt"
    points.write_text(points.read_text().replace("other =", "greeter ="))
    monkeypatch.setenv("FLOWSTONE_DISABLE_PLUGINS", "flowstone-other")
    rows = {
        row["distribution"]: (row["status"], row["commands"])
        for row in greeter.json("plugins", "list")
        if row["name"] == "greeter"
    }
    assert rows == {"flowstone-greeter": ("ok", ["greet"]), "flowstone-other": ("blocked", [])}
    assert greeter.json("plugins", "show", "greeter")["status"] == "ok"


def test_trigger_is_shown_with_its_documentation(greeter):
    shown = greeter.json("plugins", "show", "cron")
    assert set(shown) == {"trigger", "plugin", "distribution", "version", "doc"}
    assert (shown["trigger"], shown["plugin"]) == ("cron", "builtin")
    assert "Five fields" in shown["doc"]
    text = greeter.run("plugins", "show", "every").stdout
    assert text.startswith("every, plugin 'builtin' of flowstone-core")
    assert "15 minutes" in text or "10 minutes" in text


def test_settings_are_printed_as_markdown(greeter):
    lines = greeter.run("plugins", "show", "greeting", "--markdown").stdout.splitlines()
    assert lines[:2] == ["| setting | takes | default | meaning |", "| --- | --- | --- | --- |"]
    assert len(lines) == 2 + len(greeter.json("plugins", "show", "greeting")["settings"]) > 2
    for name in ("greeter", "cron", "xyz"):
        wrong = greeter.run("plugins", "show", name, "--markdown", code=2)
        assert f"--markdown needs a sensor type; '{name}' is not one" in wrong.stderr
