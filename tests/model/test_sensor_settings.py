from datetime import timedelta

import pydantic
import pytest

from flowstone_core.model.sensor_settings import SensorSettings


def test_defaults():
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


def test_each_setting_has_a_description():
    for name, field in SensorSettings.model_fields.items():
        assert field.description, name


def test_settings_are_frozen_and_refuse_unknown_names():
    with pytest.raises(pydantic.ValidationError, match="Extra inputs are not permitted"):
        SensorSettings(evry="5s")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(SensorSettings(), next(iter(SensorSettings.model_fields)), "x")


@pytest.mark.parametrize("value", ["1h30m", "PT1H30M", timedelta(minutes=90)])
def test_duration_is_a_text_or_a_timedelta(value):
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
def test_invalid_interval_is_refused(value, reason):
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
def test_setting_out_of_bounds_is_refused(settings, name):
    with pytest.raises(pydantic.ValidationError, match=name):
        SensorSettings(**settings)


def test_texts_of_a_file_are_parsed():
    settings = SensorSettings(max_events="7", enabled="no", first_poll="baseline")
    assert (settings.max_events, settings.enabled, settings.first_poll) == (7, False, "baseline")


def test_setting_at_its_bounds_is_accepted():
    assert SensorSettings(quarantine_after=1, max_events=1, every="1ms").max_events == 1
    assert SensorSettings(max_events=100_000, every="366d").max_events == 100_000
