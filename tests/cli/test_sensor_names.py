"""``flowstone sensors rename`` and ``remove``."""

import pytest

from tests.cli.conftest import FEED, PIPELINE

RENAMED = FEED.replace('"feed"', '"letters"')


@pytest.fixture
def renamed(made):
    """The shop after a run, with its sensor declared under another name."""
    made.module = f"{made.module}_renamed"  # a module is imported once in a process
    made.write(PIPELINE + RENAMED)
    return made


def test_X9_renamed_sensor_keeps_state_history_and_keys(renamed):
    said = renamed.run("sensors", "rename", "feed", "letters").stdout
    assert said == "sensor feed is renamed to letters\n"
    (row,) = renamed.json("sensors", "list")
    assert (row["name"], row["health"]) == ("letters", "ok")
    assert renamed.json("sensors", "show", "letters")["state"] == {"seen": 2}
    assert len(renamed.json("sensors", "show", "letters")["ticks"]) == 1
    before = renamed.json("events", "list", "--source", "sensor:letters")
    renamed.run("sensors", "reset", "letters", "--yes")
    process = renamed.process("run", "--once")
    process.communicate()
    assert renamed.json("events", "list", "--source", "sensor:letters") == before
    assert len(before) == 2


def test_X9_sensor_polled_under_its_new_name_already_is_not_renamed(renamed):
    process = renamed.process("run", "--once")
    process.communicate()
    error = renamed.run("sensors", "rename", "feed", "letters", code=1).stderr
    assert "cannot rename sensor 'feed': 'letters' has a state or a history already" in error
    assert len(renamed.json("sensors", "list")) == 2


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["rename", "letters", "letters"], "cannot rename sensor 'letters': it is declared"),
        (["rename", "feed", "lettres"], "unknown sensor 'lettres' (did you mean 'letters'?)"),
        (["rename", "fed", "letters"], "unknown sensor 'fed'"),
        (["remove", "letters"], "cannot remove sensor 'letters': it is declared"),
        (["remove", "fed"], "unknown sensor 'fed'"),
    ],
)
def test_X9_wrong_name_is_refused(renamed, command, said):
    assert said in renamed.run("sensors", *command, code=1).stderr
    assert renamed.json("sensors", "show", "feed")["state"] == {"seen": 2}


def test_X9_removed_sensor_is_listed_no_more_and_keeps_its_history(renamed):
    assert renamed.run("sensors", "remove", "feed").stdout == "sensor feed is removed\n"
    assert [row["name"] for row in renamed.json("sensors", "list")] == ["letters"]
    assert len(renamed.json("events", "list", "--source", "sensor:feed")) == 2
