"""``flowstone materialize`` and ``flowstone materializations``."""

import pytest

from flowstone_core.cli.materializations import STATES
from flowstone_core.model.materialization import MaterializationState

PIPELINE = """
from flowstone_core import Discard, Pipeline
pipeline = Pipeline("shop")

@pipeline.asset
def raw_orders(context):
    if context.partition == "bad":
        raise Discard("no such\\nplace \\x1b[2J" + "!" * 200)
    return {"paid": list(context.payloads)}

@pipeline.asset(depends_on=["raw_orders"])
def daily_report(context): ...
"""


@pytest.fixture
def shop(empty_folder):
    empty_folder.write(pipeline=PIPELINE)
    return empty_folder


def states(shop):
    return {row["id"]: row["state"] for row in shop.json("materializations", "list")}


@pytest.mark.parametrize(
    ("typed", "text", "shown"),
    [
        ("2025-01-15", "d:2025-01-15", "2025-01-15"),
        ("2025-01-15T02:00+02:00", "dt:2025-01-15T00:00:00Z", "2025-01-15 00:00:00Z"),
        ("north", "north", "north"),
        ("t:WyJldSIsImQ6MjAyNS0wMS0xNSJd", "t:WyJldSIsImQ6MjAyNS0wMS0xNSJd", "(eu, 2025-01-15)"),
    ],
)
@pytest.mark.parametrize("option", [[], ["--partition"], ["-p"]], ids=str)
def test_a_partition_is_asked_for(shop, typed, text, shown, option):
    said = shop.run("materialize", "raw_orders", *option, typed).stdout
    assert said == f"materialization 1 of raw_orders {shown} is pending\n"
    (row,) = shop.json("materializations", "list")
    assert (row["partition"], row["partition_shown"]) == (text, shown)


def test_payload_reaches_the_asset_function(shop):
    asked = shop.json("materialize", "raw_orders", "north", "--payload", '{"file": "ü"}')
    assert asked["state"] == "pending"
    shop.run("materialize", "raw_orders", "north", "--payload", '{"file": "b"}')
    shop.run("run", "--once")
    shown = shop.json("materializations", "show", "1")
    assert shown["metadata"] == {"paid": [{"file": "ü"}, {"file": "b"}]}
    assert [event["payload"] for event in shown["events"]] == [{"file": "ü"}, {"file": "b"}]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["raw_orders"], "give one partition"),
        (["raw_orders", "a", "-p", "a"], "give one partition"),
        (["raw_orders", "2025-02-30"], "invalid date"),
        (["raw_orders", "d:2025-1-1"], "is not the text of a partition"),
        (["raw_orders", "a", "--payload", "{"], "invalid JSON"),
        (["raw_orders", "a", "--payload", "[1]"], "not a JSON object"),
        (["raw_orders", "x" * 3000], "bytes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_request_is_wrong_use(shop, arguments, said):
    assert said in shop.run("materialize", *arguments, code=2).stderr
    assert not (shop.folder / "flowstone.db").exists()


def test_an_asset_that_is_not_there(shop):
    said = shop.run("materialize", "raw_order", "a", code=1).stderr
    assert said == "error: unknown asset 'raw_order' (did you mean 'raw_orders'?)\n"


def test_materializations_are_listed_filtered_and_paged(shop, documented):
    for partition in ("2025-01-14", "bad", "2025-01-15"):
        shop.run("materialize", "raw_orders", partition)
    shop.run("run", "--once", code=1)
    shop.run("materialize", "daily_report", "2025-01-15")
    rows = shop.json("materializations", "list")
    assert set(rows[0]) == documented("materializations", "list")
    assert states(shop) == {4: "pending", 3: "completed", 2: "discarded", 1: "completed"}
    assert rows[0]["duration"] is None
    assert rows[1]["duration"] >= 0

    def ids(*options):
        return [row["id"] for row in shop.json("materializations", "list", *options)]

    assert ids("--asset", "daily_report") == [4]
    assert ids("--partition", "2025-01-15") == [4, 3]
    assert ids("-p", "bad", "--state", "discarded") == [2]
    assert ids("--limit", "2") == [4, 3]
    assert ids("--limit", "2", "--before", "3") == [2, 1]
    assert "invalid date" in shop.run("materializations", "list", "-p", "2025-13-01",
                                           code=2).stderr  # fmt: skip
    table = shop.lines("materializations", "list")
    assert table[0] == ["ID", "ASSET", "PARTITION", "STATE", "ATTEMPTS", "DURATION", "WAITING FOR",
                        "ERROR"]  # fmt: skip
    assert table[3][:5] == ["2", "raw_orders", "bad", "discarded", "1"]
    assert table[3][-1].startswith("no such place !!!")
    assert not table[3][-1].endswith("…")


def test_N14_duration_after_a_retry_is_of_the_last_attempt(shop):
    shop.run("materialize", "raw_orders", "bad")
    shop.run("run", "--once", code=1)
    once = shop.json("materializations", "show", "1")
    assert once["attempt_started_at"] is None
    assert once["duration"] == once["total_duration"]
    shop.run("materializations", "retry", "1")
    shop.run("run", "--once", code=1)
    (row,) = shop.json("materializations", "list")
    attempts = shop.json("materializations", "show", "1")["attempts"]
    assert row["started_at"] == attempts[0]["started_at"]
    assert row["attempt_started_at"] == attempts[1]["started_at"]
    assert row["started_at"] < row["requested_at"] < row["attempt_started_at"]
    assert row["duration"] < row["total_duration"]
    assert " in all)" in shop.run("materializations", "list").stdout
    text = shop.run("materializations", "show", "1").stdout
    assert "first started at:" in text
    assert "last started at:" in text
    assert "\nstarted at:" not in text


def test_state_option_accepts_every_state():
    assert set(STATES) == set(MaterializationState)


def test_one_is_shown_whole(shop):
    shop.run("materialize", "raw_orders", "bad", "--payload", '{"a": 1}')
    before = shop.run("materializations", "show", "1").stdout
    assert "state:           pending\n" in before
    assert "\nno attempts yet\n" in before
    shop.run("run", "--once", code=1)
    text = shop.run("materializations", "show", "1").stdout
    assert "partition:       bad\n" in text
    assert "error:           no such\n                 place " + "!" * 200 in text
    assert "\x1b" not in text
    _, attempts, events = text.split("\n\n")
    assert not attempts.splitlines()[1].endswith("…")
    assert "discarded" in attempts
    assert events.splitlines()[1].split()[3] == "manual"
    shown = shop.json("materializations", "show", "1")
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["discarded"]
    assert shown["events"][0]["source"] == "manual"


def test_show_without_events_names_the_dependent_asset(shop):
    shop.run("materialize", "daily_report", "north")
    shop.run("run", "--once")
    (made_ahead,) = shop.json("materializations", "list", "--asset", "raw_orders")
    text = shop.run("materializations", "show", str(made_ahead["id"])).stdout
    assert text.endswith("no events: a dependent asset requested it\n")


def test_cancel_and_retry(shop):
    shop.run("materialize", "raw_orders", "2025-01-15")
    cancelled = shop.run("materializations", "cancel", "1").stdout
    assert cancelled == "materialization 1 of raw_orders 2025-01-15 is cancelled\n"
    conflict = shop.run("materializations", "cancel", "1", code=1)
    assert conflict.stderr.startswith("error: ")
    assert "cancelled" in conflict.stderr
    retried = shop.run("materializations", "retry", "1").stdout
    assert retried == "materialization 1 of raw_orders 2025-01-15 is pending\n"
    shop.run("run", "--once")
    assert states(shop) == {1: "completed"}
    assert "completed" in shop.run("materializations", "retry", "1", code=1).stderr


@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
def test_a_number_that_nothing_has(shop, command):
    assert "99" in shop.run("materializations", command, "99", code=1).stderr
    assert "'x' is not a valid integer" in (
        shop.run("materializations", command, "x", code=2).stderr
    )


MONTHLY = """
[flowstone:schedule:monthly]
asset = raw_orders
cron = @monthly
partition = ${year}${month}${day}
"""


@pytest.mark.parametrize("text", ["2025-1-5", "20250105", "2025-01-05 ", "2025/01/05"])
def test_N11_near_date_is_warned_of(shop, text):
    result = shop.run("materialize", "daily_report", text)
    said = f"warning: the partition {text!r} is a text, not a date (for the date write 2025-01-05)"
    assert result.stderr == f"{said}\n"
    assert shop.run("materializations", "list", "--partition", text).stderr == f"{said}\n"
    tagged = ("materialize", "daily_report", shop.json("materializations", "list")[0]["partition"])
    if tagged[-1].startswith("s:"):
        assert shop.run(*tagged).stderr == ""


def test_N11_text_that_a_schedule_writes_is_not_warned_of(shop):
    shop.declare(MONTHLY)
    assert shop.run("materialize", "raw_orders", "20250105").stderr == ""
    assert "is a text, not a date" in shop.run("materialize", "raw_orders", "2025-1-5").stderr
    assert "is a text, not a date" in shop.run("materialize", "daily_report", "20250105").stderr
    assert shop.run("materialize", "raw_orders", "2025-01-05").stderr == ""
    assert shop.run("materialize", "raw_orders", "north").stderr == ""


def test_N11_first_month_of_an_asset_is_warned_of(shop):
    assert shop.run("materialize", "daily_report", "2025-01").stderr == (
        "warning: the partition '2025-01' is a text: a month is not a date "
        "(for its first day write 2025-01-01)\n"
    )
    assert shop.run("materialize", "daily_report", "2025-02").stderr == ""
    assert shop.run("materializations", "list", "--partition", "2025-02").stderr == ""


@pytest.mark.parametrize(
    ("typed", "dates"),
    [
        ("5-1-2025", "2025-01-05 or 2025-05-01"),
        ("1/5/2025", "2025-05-01 or 2025-01-05"),
        ("25-01-05", "2025-01-05 or 2005-01-25"),
        ("Jan 5 2025", "2025-01-05"),
    ],
)
def test_N11_typed_date_of_another_form_is_warned_of(shop, typed, dates):
    said = shop.run("materialize", "raw_orders", typed).stderr
    assert f"the partition {typed!r} is a text, not a date (for the date write {dates})" in said


@pytest.mark.parametrize("typed", ["", "s:"])
def test_N11_typed_empty_partition_is_refused(shop, typed):
    said = shop.run("materialize", "raw_orders", typed, code=2).stderr
    assert "the partition must not be empty" in said
    assert shop.json("materializations", "list") == []
