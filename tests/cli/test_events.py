"""``flowstone events``."""


def test_events_are_listed_newest_first(made, documented):
    rows = made.json("events", "list")
    assert set(rows[0]) == documented("events", "list")
    assert [row["id"] for row in rows] == [4, 3, 2, 1]
    assert rows[3] == {
        "id": 1,
        "source": "sensor:feed",
        "key": "monday",
        "asset": "raw_orders",
        "partition": "d:2025-01-13",
        "partition_shown": "2025-01-13",
        "created_at": rows[3]["created_at"],
        "payload": {"file": "a.csv"},
        "materialization_id": 1,
        "tick_id": 1,
    }
    assert rows[3]["created_at"].endswith("+00:00")


def test_the_table_is_safe_for_a_terminal(made):
    text = made.run("events", "list").stdout
    assert "north\\u202e" in text
    assert "\x1b" not in text
    table = made.lines("events", "list")
    assert table[0] == ["ID", "AT", "SOURCE", "ASSET", "PARTITION", "MATERIALIZATION", "KEY"]
    assert table[4][2:] == ["sensor:feed", "raw_orders", "2025-01-13", "1", "monday"]


def test_events_are_filtered_and_paged(made):
    def ids(*options):
        return [row["id"] for row in made.json("events", "list", *options)]

    assert ids("--source", "sensor:feed") == [2, 1]
    assert ids("--asset", "daily_report") == [4, 3]
    assert ids("--limit", "3") == [4, 3, 2]
    assert ids("--limit", "3", "--before", "2") == [1]
    assert ids("--source", "manual") == []
    assert made.run("events", "list", "--source", "manual").stdout == "no events\n"
