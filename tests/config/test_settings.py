from datetime import UTC, date, datetime, timedelta

import pydantic
import pytest

from flowstone_core.config.run_settings import RunSettings
from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.scheduling.settings import ScheduleSettings


def test_the_defaults_of_a_sensor():
    assert SensorSettings().model_dump() == {
        "every": timedelta(seconds=30),
        "deadline": timedelta(seconds=60),
        "isolation": "thread",
        "backoff": timedelta(seconds=5),
        "backoff_limit": timedelta(minutes=30),
        "quarantine_after": 10,
        "first_poll": "fire",
        "max_events": 1_000,
        "stale_after": None,
        "dedupe_for": timedelta(days=90),
        "enabled": True,
    }


def test_the_defaults_of_a_run():
    assert RunSettings().model_dump() == {
        "store": "sqlite:///flowstone.db",
        "engine": "local",
        "pipelines": (),
        "plugins": None,
        "poll_threads": 32,
        "asset_threads": 8,
        "grace": timedelta(seconds=30),
        "lease": timedelta(seconds=30),
        "retention": None,
    }


@pytest.mark.parametrize("model", [SensorSettings, ScheduleSettings, RunSettings])
def test_every_setting_says_what_it_is(model):
    for name, field in model.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize("model", [SensorSettings, ScheduleSettings, RunSettings])
def test_settings_do_not_change_and_know_their_names(model):
    with pytest.raises(pydantic.ValidationError, match="Extra inputs are not permitted"):
        model(evry="5s")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(model(), next(iter(model.model_fields)), "x")


@pytest.mark.parametrize("value", ["1h30m", "PT1H30M", timedelta(minutes=90)])
def test_a_duration_is_a_text_or_a_timedelta(value):
    assert SensorSettings(every=value).every == timedelta(minutes=90)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (5, "a duration is a text such as '30s', or a timedelta"),
        (1.5, "a duration is a text such as '30s', or a timedelta"),
        (None, "a duration is a text such as '30s', or a timedelta"),
        ("5", "'5' is not a duration: use 30s"),
        ("0s", "0s is out of bounds: use 1ms to 366d"),
        (timedelta(seconds=-1), "-1s is out of bounds: use 1ms to 366d"),
        ("367d", "367d is out of bounds: use 1ms to 366d"),
    ],
)
def test_what_is_no_interval_is_refused(value, reason):
    with pytest.raises(pydantic.ValidationError, match=reason):
        SensorSettings(every=value)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"quarantine_after": 0}, "quarantine_after"),
        ({"max_events": 0}, "max_events"),
        ({"max_events": 100_001}, "max_events"),
        ({"first_poll": "ignore"}, "first_poll"),
        ({"enabled": "perhaps"}, "enabled"),
    ],
)
def test_a_sensor_s_setting_past_its_bounds(settings, name):
    with pytest.raises(pydantic.ValidationError, match=name):
        SensorSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"poll_threads": 0}, "poll_threads"),
        ({"asset_threads": 1_001}, "asset_threads"),
        ({"grace": "2d"}, "grace"),
        ({"lease": "500ms"}, "lease"),
        ({"pipelines": "shop:pipeline"}, "pipelines"),
    ],
)
def test_a_run_s_setting_past_its_bounds(settings, name):
    with pytest.raises(pydantic.ValidationError, match=name):
        RunSettings(**settings)


def test_texts_of_a_file_are_read():
    settings = SensorSettings(max_events="7", enabled="no", first_poll="baseline")
    assert (settings.max_events, settings.enabled, settings.first_poll) == (7, False, "baseline")
    assert RunSettings(grace="0s").grace == timedelta(0)


def test_a_setting_may_be_at_its_bounds():
    assert SensorSettings(quarantine_after=1, max_events=1, every="1ms").max_events == 1
    assert SensorSettings(max_events=100_000, every="366d").max_events == 100_000
    for threads in (1, 1_000):
        settings = RunSettings(poll_threads=threads, asset_threads=threads)
        assert settings.poll_threads == settings.asset_threads == threads
    assert RunSettings(lease="1s", grace="1d").lease == timedelta(seconds=1)
    assert RunSettings(lease="1h").lease == timedelta(hours=1)


@pytest.mark.parametrize("window", ["1m", "36h", "364d", "365d", "366d"])
def test_what_is_written_of_a_schedule_can_be_read_again(window):
    settings = ScheduleSettings(catchup_window=window, jitter="90s")
    written = settings.model_dump(mode="json", exclude_unset=True)
    assert written["jitter"] == "1m30s"
    assert ScheduleSettings.model_validate(written) == settings


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("2026-01-31", "2026-01-31T00:00:00"),
        (" 2026-01-31T08:00+01:00 ", "2026-01-31T08:00:00+01:00"),
        (date(2026, 1, 31), "2026-01-31T00:00:00"),
        (datetime(2026, 1, 31, 8, tzinfo=UTC), "2026-01-31T08:00:00+00:00"),
    ],
)
def test_a_moment_is_a_date_or_a_datetime(value, written):
    assert ScheduleSettings(start=value).start == written


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("soon", "'soon' is no moment: use ISO 8601, such as 2026-01-31 or"),
        (5, "a moment is a text such as '2026-01-31' or '2026-01-31T08:00', or a date"),
    ],
)
def test_what_is_no_moment_is_said_in_our_words(value, reason):
    with pytest.raises(pydantic.ValidationError) as caught:
        ScheduleSettings(end=value)
    assert reason in str(caught.value)
