"""Schedules through the Python API: declared, added, edited, and who wins."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from flowstone_core import CronTrigger, Flowstone, Pipeline, Trigger, ValidationError
from flowstone_core.errors import ConflictError, NotFoundError
from flowstone_core.model.partition import decode_partition
from flowstone_core.model.tick import SkipReason


def assets(name="shop"):
    pipeline = Pipeline(name)
    pipeline.asset(name="report")(lambda context: None)
    pipeline.asset(name="orders")(lambda context: None)
    return pipeline


@pytest.fixture
def pipeline():
    return assets()


@pytest.fixture
def flowing(store_url, fake_clock):
    """Make Flowstones on one store, each like a process of its own."""
    opened = []

    def make(*pipelines):
        flow = Flowstone(*pipelines, store=store_url, clock=fake_clock)
        opened.append(flow)
        return flow

    yield make
    for flow in opened:
        flow.close()


def test_added_schedule_is_listed_and_removed(flowing, pipeline):
    flow = flowing(pipeline)
    added = flow.schedule("report", cron="0 2 * * *", timezone="America/New_York")
    assert (added.name, added.asset, added.health) == ("report", "report", "ok")
    assert (added.trigger, added.text, added.words) == ("cron", "0 2 * * *", "At 02:00")
    assert (added.origin, added.edited) == ("command", ())
    assert added.next_at == datetime(2025, 1, 16, 7, tzinfo=UTC)
    assert flowing(assets()).list_schedules() == [added]
    flow.unschedule("report")
    assert flow.list_schedules() == []


def test_second_schedule_of_an_asset_needs_a_name(flowing, pipeline):
    flow = flowing(pipeline)
    flow.schedule("report", every="10 minutes")
    with pytest.raises(ConflictError, match=r"duplicate schedule 'report', for asset report") as e:
        flow.schedule("report", every="day at 10:30")
    assert "another name" in e.value.hint
    flow.schedule("report", name="daily", every="day at 10:30")
    assert [each.name for each in flow.list_schedules()] == ["daily", "report"]


def test_schedule_beside_a_declared_one_needs_a_name(flowing, pipeline):
    pipeline.schedule("report", every="10 minutes")
    flow = flowing(pipeline)
    with pytest.raises(ConflictError, match=r"duplicate schedule 'report'.*test_schedules.py:"):
        flow.schedule("report", every="5 minutes")


@pytest.mark.parametrize("call", ["remove", "get", "pause", "upcoming"])
def test_unknown_schedule_raises_not_found(flowing, pipeline, call):
    pipeline.schedule("report", every="10 minutes")
    flow = flowing(pipeline)
    with pytest.raises(NotFoundError, match=r"unknown schedule .reprot. .did you mean .report.\?"):
        getattr(flow.schedules, call)("reprot")
    with pytest.raises(NotFoundError, match="known: report"):
        getattr(flow.schedules, call)("zzz")


def test_invalid_options_are_reported_together(flowing, pipeline):
    flow = flowing(pipeline)
    with pytest.raises(ValidationError) as caught:
        flow.schedule("repotr", cron="99 2 * * 8", timezone="Europe/Warsow", catchup="al", x=1)
    text = str(caught.value)
    for part in ("did you mean 'report'?", "99", "day of week", "Europe/Warsaw", "catchup", " x:"):
        assert part in text, part
    assert flow.list_schedules() == []


def test_declared_schedule_is_listed_before_any_run(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *")
    (status,) = flowing(pipeline).list_schedules()
    assert (status.health, status.next_at) == ("ok", datetime(2025, 1, 16, 2, tzinfo=UTC))
    assert "test_schedules.py:" in status.origin


def test_declared_schedule_cannot_be_removed_but_paused(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *")
    flow = flowing(pipeline)
    with pytest.raises(ConflictError, match=r"is declared at .*test_schedules.py:\d+") as caught:
        flow.unschedule("report")
    assert caught.value.hint.endswith("flowstone schedules pause report")
    flow.schedules.pause("report")
    flow.schedules.pause("report")
    assert flow.schedules.get("report").health == "paused"
    flow.schedules.resume("report")
    assert flow.schedules.get("report").health == "ok"


def test_undeclared_schedule_is_listed_and_can_be_removed(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *")
    flowing(pipeline).schedules.pause("report")
    later = flowing(assets())
    (status,) = later.list_schedules()
    assert (status.health, status.next_at) == ("undeclared", None)
    with pytest.raises(ConflictError, match="still a schedule 'report', which was declared") as e:
        later.schedule("report", every="5 minutes")
    assert e.value.hint.endswith("flowstone schedules remove report")
    later.unschedule("report")
    assert later.list_schedules() == []


def test_schedule_without_its_asset_is_broken(flowing, pipeline):
    flowing(pipeline).schedule("report", every="10 minutes")
    later = Pipeline("shop")
    later.asset(name="reports")(lambda context: None)
    status = flowing(later).schedules.get("report")
    assert status.health == "broken"
    assert "no pipeline has its asset 'report' (did you mean 'reports'?)" in status.error


def test_update_overrides_the_declaration_until_reverted(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *", catchup="all", jitter="5m")
    flow = flowing(pipeline)
    edited = flow.schedules.update("report", cron="0 3 * * *", overlap="allow")
    assert edited.settings == {
        "cron": "0 3 * * *", "asset": "report", "catchup": "all", "jitter": "5m",
        "overlap": "allow",
    }  # fmt: skip
    assert edited.edited == ("overlap", "cron")
    changed = assets()
    changed.schedule("report", cron="0 4 * * *", catchup="none", timezone="Europe/Warsaw")
    later = flowing(changed)
    # What is shown is what the next runner makes of it.
    shown = later.schedules.get("report")
    later.schedules.pause("report")
    later.run(once=True)
    status = later.schedules.get("report")
    assert (shown.settings, shown.origin) == (status.settings, status.origin)
    assert (status.text, status.settings["catchup"]) == ("0 3 * * *", "none")
    assert status.edited == ("overlap", "cron")
    reverted = later.schedules.revert("report")
    assert (reverted.text, reverted.edited) == ("0 4 * * *", ())
    assert "overlap" not in reverted.settings


def test_added_schedule_keeps_its_options_when_declared_later(flowing, pipeline):
    flowing(pipeline).schedule("report", every="10 minutes")
    declaring = assets()
    declaring.schedule("report", cron="0 4 * * *", catchup="all")
    flow = flowing(declaring)
    flow.run(once=True)
    status = flow.schedules.get("report")
    assert (status.trigger, status.text) == ("every", "10 minutes")
    assert status.settings["catchup"] == "all"
    assert status.edited == ("asset", "every")
    assert flow.schedules.revert("report").text == "0 4 * * *"


def test_added_schedule_cannot_be_reverted(flowing, pipeline):
    flow = flowing(pipeline)
    flow.schedule("report", every="10 minutes")
    with pytest.raises(ConflictError, match="cannot revert schedule 'report'") as caught:
        flow.schedules.revert("report")
    assert caught.value.hint.endswith("flowstone schedules remove report")


def test_invalid_update_changes_nothing(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *")
    flow = flowing(pipeline)
    before = flow.schedules.get("report")
    with pytest.raises(ValidationError) as caught:
        flow.schedules.update("report", cron="0 25 * * *", overlap="perhaps", asset="zzz")
    assert len(caught.value.problems) == 3
    assert flow.schedules.get("report") == before


def test_update_with_none_removes_a_setting(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *", end="2030-01-01", partition="${year}")
    flow = flowing(pipeline)
    flow.schedules.update("report", end=None, partition=None)
    settings = flow.schedules.get("report").settings
    assert (settings["end"], settings["partition"]) == (None, None)
    (fire,) = flow.schedules.upcoming("report", 1)
    assert decode_partition(fire.partition) == date(2025, 1, 16)


def test_update_replaces_the_trigger_and_the_partition_fn(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *", partition_fn=lambda: "x")
    flow = flowing(pipeline)
    assert flow.schedules.upcoming("report", 1)[0].partition == "x"
    flow.schedules.update("report", every="day at 03:00", partition="y${day}")
    (fire,) = flow.schedules.upcoming("report", 1)
    assert (fire.at.hour, fire.partition) == (3, "y16")
    assert "partition_fn" not in flow.schedules.get("report").settings


def test_update_of_other_settings_keeps_the_partition_fn(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *", partition_fn=lambda instant: f"{instant:%d}")
    flow = flowing(pipeline)
    flow.schedules.update("report", cron="0 5 * * *")
    (fire,) = flow.schedules.upcoming("report", 1)
    assert (fire.at.hour, fire.partition) == (5, "16")


def test_partition_fn_given_at_run_time_belongs_to_its_process(flowing, pipeline):
    flow = flowing(pipeline)
    flow.schedule("report", cron="0 2 * * *", partition_fn=lambda instant: ("a", instant.date()))
    assert flow.schedules.get("report").health == "ok"
    (fire,) = flow.schedules.upcoming("report", 1)
    assert decode_partition(fire.partition) == ("a", date(2025, 1, 16))
    other = flowing(assets())
    status = other.schedules.get("report")
    assert status.health == "broken"
    assert "was given in another process" in status.error
    flow.schedules.update("report", partition_fn=lambda: "b")
    assert flow.schedules.upcoming("report", 1)[0].partition == "b"


class Noon(Trigger):
    def next_fire(self, after):
        noon = after.astimezone(self.zone).replace(hour=12, minute=0, second=0, microsecond=0)
        return noon if noon > after else noon + timedelta(days=1)


def test_a_trigger_object(flowing, pipeline):
    pipeline.schedule("report", trigger=CronTrigger("0 2 * * *", "Europe/Warsaw"))
    pipeline.schedule("orders", trigger=Noon("", "Asia/Tokyo"))
    flow = flowing(pipeline)
    own, known = flow.list_schedules()
    assert (known.trigger, known.text, known.timezone) == ("cron", "0 2 * * *", "Europe/Warsaw")
    assert (own.trigger, own.timezone, own.health) == ("Noon", "Asia/Tokyo", "ok")
    assert own.next_at == datetime(2025, 1, 16, 3, tzinfo=UTC)
    flow.schedule("report", name="another", trigger=CronTrigger("0 3 * * *"))
    with pytest.raises(ValidationError, match="must be one that a plugin provides"):
        flow.schedule("report", name="own", trigger=Noon(""))


def test_update_and_resume_record_skips_and_replay_nothing(flowing, pipeline, fake_clock):
    pipeline.schedule("report", cron="0 * * * *")
    flow = flowing(pipeline)
    flow.run(once=True)
    fake_clock.advance(timedelta(hours=2))
    flow.schedules.update("report", jitter="1m")
    assert flow.schedules.skips() == []
    flow.schedules.update("report", timezone="Europe/Warsaw")
    flow.schedules.update("report", cron="30 * * * *")
    flow.schedules.pause("report")
    fake_clock.advance(timedelta(hours=2))
    flow.schedules.resume("report")
    flow.schedules.resume("report")
    paused, edited = flow.schedules.skips("report")
    assert (edited.skip.reason, edited.skip.count) == (SkipReason.EDITED, 2)
    assert (paused.skip.reason, paused.skip.count) == (SkipReason.PAUSED, 2)
    flow.run(once=True)
    assert flow.events() == []


def test_update_with_a_concurrent_change_is_retried(flowing, pipeline):
    pipeline.schedule("report", cron="0 * * * *")
    flow, other = flowing(pipeline), flowing(pipeline)
    flow.schedules.pause("report")
    meddled = []
    make = flow.schedules.factory.make

    def meddle(record):
        if not meddled:
            meddled.append(other.schedules.update("report", overlap="allow"))
        return make(record)

    flow.schedules.factory.make = meddle
    flow.schedules.update("report", cron="5 * * * *")
    assert flow.schedules.get("report").settings["overlap"] == "allow"
    assert flow.schedules.get("report").text == "5 * * * *"

    def always(record):
        other.schedules.update("report", jitter=f"{len(meddled)}s")
        meddled.append(None)
        return make(record)

    flow.schedules.factory.make = always
    with pytest.raises(ConflictError, match="other changes came first"):
        flow.schedules.update("report", cron="6 * * * *")


def test_upcoming_instants_have_partitions_and_clock_changes(flowing, pipeline):
    pipeline.schedule("report", cron="30 2 * * *", timezone="America/New_York")
    flow = flowing(pipeline)
    after = datetime(2026, 3, 6, 12, tzinfo=UTC)
    fires = flow.schedules.upcoming("report", 4, after)
    assert [fire.at.isoformat() for fire in fires] == [
        "2026-03-07T02:30:00-05:00",
        "2026-03-08T03:00:00-04:00",
        "2026-03-09T02:30:00-04:00",
        "2026-03-10T02:30:00-04:00",
    ]
    assert [fire.shift for fire in fires] == [None, "clocks went forward 1h", None, None]
    assert [fire.offset for fire in fires][:2] == [timedelta(hours=-5), timedelta(hours=-4)]
    assert decode_partition(fires[1].partition) == date(2026, 3, 8)
    autumn = flow.schedules.upcoming("report", 3, datetime(2026, 10, 31, 12, tzinfo=UTC))
    assert [fire.shift for fire in autumn] == ["clocks went back 1h", None, None]


def test_upcoming_instants_stop_at_the_end(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *", end="2025-01-17")
    flow = flowing(pipeline)
    assert len(flow.schedules.upcoming("report")) == 1


def test_status_names_schedules(flowing, pipeline):
    pipeline.schedule("report", cron="0 2 * * *", enabled=False)
    (status,) = flowing(pipeline).status().schedules
    assert (status.health, status.next_at) == ("disabled", None)
