"""``flowstone check``."""

from importlib.metadata import version

import pytest


def test_check_shows_everything_that_would_run(shop):
    shop.write(
        settings="""store = sqlite:///other.db

[flowstone:sensor:arrivals]
type = s3_file_arrival
asset = raw_orders
every = 90s
enabled = false
bucket = shop
access_key = hunter2
secret_key = hunter2-secret
"""
    )
    result = shop.run("check")
    assert result.stderr == ""
    assert "hunter2" not in result.output
    head, assets, sensors, schedules = result.stdout.split("\n\n")
    names = ("flowstone-core", "flowstone-db", "flowstone-http", "flowstone-s3")
    plugins = [f"{name} {version(name)}" for name in names]
    assert head.splitlines() == [
        "file:    setup.cfg",
        "store:   sqlite:///other.db",
        "engine:  local",
        f"plugins: {', '.join(plugins)}",
    ]
    assert assets.splitlines() == [
        "ASSET         DEPENDS ON            DESCRIPTION",
        "raw_orders                          Load the orders of one day.",
        "daily_report  raw_orders (follows)",
    ]
    rows = [line.split(maxsplit=5) for line in sensors.splitlines()]
    assert rows[0] == ["SENSOR", "TYPE", "ASSET", "EVERY", "ENABLED", "SETTINGS"]
    assert rows[1][:5] == ["feed", "ScriptedSensor", "raw_orders", "1s", "yes"]
    assert rows[2][:5] == ["arrivals", "s3_file_arrival", "raw_orders", "1m30s", "no"]
    assert rows[2][5].strip() == "bucket=shop access_key=*** secret_key=***"
    assert schedules == "no schedules\n"


def test_check_opens_the_store_only_with_connect(shop):
    shop.run("check")
    assert not (shop.folder / "flowstone.db").exists()
    result = shop.run("check", "--connect")
    assert "store sqlite:///flowstone.db available; live runners: 0" in result.stdout
    assert (shop.folder / "flowstone.db").exists()


def test_check_connect_calls_each_sensor(shop):
    source = (shop.folder / f"{shop.module}.py").read_text()
    source += """
pipeline.sensor("down", ScriptedSensor, asset="raw_orders", script=[OSError("no route")])
pipeline.sensor("off", ScriptedSensor, asset="raw_orders", script=[OSError("!")], enabled=False)
"""
    shop.write(pipeline=source)
    text = shop.run("check", "--connect", code=1).stdout
    table = [line.split(maxsplit=3) for line in text.splitlines()]
    assert any(row[:2] == ["feed", "connected"] for row in table)
    assert any(row[:2] == ["down", "unavailable"] for row in table)
    assert text.count("OSError: no route") == 1
    assert "store sqlite:///flowstone.db available" in text
    assert shop.run("events", "list").stdout == "no events\n"


def test_password_in_the_store_url_is_hidden(shop):
    shop.write(settings="store = postgresql://me:hunter2@localhost:1/shop\n")
    assert "postgresql://me:***@localhost:1/shop" in shop.run("check").stdout
    refused = shop.run("check", "--connect", code=1)
    assert "hunter2" not in refused.output
    assert refused.stderr.startswith("error: ")


def test_empty_password_in_the_store_url_hides_nothing(shop):
    shop.write(settings="store = postgresql://me:@localhost:1/shop\n")
    assert "postgresql://me:@localhost:1/shop" in shop.run("check").stdout


def test_suspicious_setting_is_a_warning(shop):
    shop.write(settings="store = sqlite:///x%y.db\n")
    assert shop.run("check").stderr.startswith(
        "warning: setup.cfg:3: [flowstone] store: a lone '%'"
    )


def test_broken_plugin_is_a_warning(shop):
    shop.install("flowstone-broken", "broken", "import nothing_of_this_name\n")
    result = shop.run("check")
    assert "warning: plugin 'broken' of flowstone-broken 1.2: broken: " in result.stderr
    assert "flowstone-broken" not in result.stdout


@pytest.mark.parametrize("command", [["check"], ["run"], ["run", "--once"], ["check", "--connect"]])
def test_N10_configuration_without_anything_to_run_exits_2(shop, command):
    (shop.folder / "setup.cfg").write_text("[metadata]\nname = other\n")
    result = shop.run(*command, code=2)
    assert result.stderr.startswith(
        "error: nothing to run: setup.cfg names no sensor, no schedule and no pipeline (write a "
    )
    (shop.folder / "setup.cfg").unlink()
    result = shop.run(*command, code=2)
    assert result.stderr == (
        "error: nothing to run: no setup.cfg or flowstone.cfg with a section [flowstone] in this "
        "folder (change to the project's folder, or name the file with --config; --allow-empty "
        "accepts that)\n"
    )
    assert not list(shop.folder.glob("flowstone.db*"))


@pytest.mark.parametrize("command", [["check"], ["run", "--once"]])
def test_N10_pipeline_without_assets_exits_2(shop, command):
    shop.write(pipeline="from flowstone_core import Pipeline\n\npipeline = Pipeline('shop')\n")
    result = shop.run(*command, code=2)
    assert result.stderr == (
        f"error: nothing to run: no asset in {shop.module}:pipeline, named by setup.cfg "
        "(declare a function with @pipeline.asset, in a module that the pipeline's imports; "
        "--allow-empty accepts that)\n"
    )


@pytest.mark.parametrize("command", [["check"], ["run"], ["run", "--once"]])
def test_N10_nothing_to_run_is_accepted_with_allow_empty(empty_folder, command):
    result = empty_folder.run(*command, "--allow-empty")
    assert result.stdout.startswith("nothing to run: no setup.cfg or flowstone.cfg")
    assert result.stderr == ""


LISTINGS = (
    ["status"], ["sensors", "list"], ["sensors", "show", "feed"], ["schedules", "list"],
    ["schedules", "show", "daily_report"], ["schedules", "skipped"], ["events", "list"],
    ["schedules", "next", "daily_report"], ["explain", "feed"], ["materializations", "list"],
)  # fmt: skip


@pytest.mark.parametrize("command", LISTINGS, ids=" ".join)
def test_N10_listing_before_the_first_run_creates_no_store(shop, command):
    shop.write(
        settings="[flowstone:schedule:daily_report]\nasset = daily_report\ncron = 0 2 * * *\n"
    )
    before = sorted(path.name for path in shop.folder.iterdir() if path.is_file())
    shop.run(*command)
    assert sorted(path.name for path in shop.folder.iterdir() if path.is_file()) == before


CHANGES_OF_THE_UNKNOWN = (
    ["sensors", "reset", "x", "--yes"], ["sensors", "pause", "x"], ["sensors", "resume", "x"],
    ["sensors", "rename", "x", "y"], ["sensors", "remove", "x"], ["schedules", "pause", "x"],
    ["schedules", "resume", "x"], ["schedules", "remove", "x"], ["backfills", "cancel", "1"],
    ["schedules", "update", "x", "--every", "1h"],
    ["materialize", "x", "2025-1-5"], ["materializations", "retry", "1"],
    ["materializations", "cancel", "1"], ["db", "backup", "copy.db"], ["db", "check"],
)  # fmt: skip


@pytest.mark.parametrize("command", CHANGES_OF_THE_UNKNOWN, ids=" ".join)
def test_N10_change_of_the_unknown_creates_no_store(empty_folder, command):
    empty_folder.run(*command, code=1)
    assert not list(empty_folder.folder.glob("*.db*"))


def test_N10_schedule_of_an_unknown_asset_creates_no_store(empty_folder):
    empty_folder.run("schedules", "add", "x", "--every", "1h", code=2)
    assert not list(empty_folder.folder.glob("*.db*"))


READINGS = (
    ["db", "prune", "--older-than", "30d"], ["db", "prune", "--older-than", "30d", "--dry-run"],
    ["backfill", "daily_report", "--from", "2025-01-01", "--to", "2025-01-02", "--dry-run"],
)  # fmt: skip


@pytest.mark.parametrize("command", READINGS, ids=" ".join)
def test_N10_prune_and_dry_run_before_the_first_run_make_no_store(shop, command):
    shop.run(*command)
    assert not list(shop.folder.glob("*.db*"))


def test_N10_change_of_the_declared_before_the_first_run_is_kept(shop):
    shop.run("sensors", "pause", "feed")
    assert shop.json("sensors", "show", "feed")["health"] == "paused"


def test_N10_status_before_the_first_run_names_the_store(shop):
    assert "flowstone.db (does not exist yet: 'flowstone run' creates it)" in (
        shop.run("status").stdout
    )
    assert shop.json("status")["store"] == "sqlite:///flowstone.db"
    shop.run("run", "--once")
    assert shop.run("status").stdout.startswith("store: sqlite:///flowstone.db\n")


def test_assets_or_sensors_alone_are_shown(shop):
    shop.write(pipeline=PIPELINE_OF_ONE_SENSOR)
    result = shop.run("check")
    assert "no assets" in result.stdout
    assert "(each event's)" in result.stdout


PIPELINE_OF_ONE_SENSOR = """
from flowstone_core import Pipeline
from flowstone_core.testing import ScriptedSensor
pipeline = Pipeline("shop")
pipeline.sensor("feed", ScriptedSensor)
"""


@pytest.mark.parametrize("password", ["p@c4n4ryQQ", "p@c4n4ryQQ:5432", "p@c4n4ryQQ/x"])
def test_S9_check_refuses_a_store_password_with_at(shop, monkeypatch, password):
    monkeypatch.setenv("STORE_PW", password)
    shop.write(settings="store = postgresql://u:${STORE_PW}@127.0.0.1:1/shop\n")
    for command in (["check"], ["check", "--connect"], ["status"], ["run"]):
        result = shop.run(*command, code=2)
        assert "c4n4ry" not in result.output
        assert "[flowstone] store: unescaped '@' (write @ in a user, a password" in result.stderr
