from datetime import UTC, date, datetime

import pydantic
import pytest

from flowstone_core.scheduling.settings import ScheduleSettings


def test_each_setting_has_a_description():
    for name, field in ScheduleSettings.model_fields.items():
        assert field.description, name


def test_settings_are_frozen_and_refuse_unknown_names():
    with pytest.raises(pydantic.ValidationError, match="Extra inputs are not permitted"):
        ScheduleSettings(evry="5s")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(ScheduleSettings(), next(iter(ScheduleSettings.model_fields)), "x")


@pytest.mark.parametrize("window", ["1m", "36h", "364d", "365d", "366d"])
def test_dumped_settings_validate_to_the_same(window):
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
def test_moment_is_a_date_or_a_datetime(value, written):
    assert ScheduleSettings(start=value).start == written


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("soon", "invalid moment 'soon': use ISO 8601, such as 2026-01-31 or"),
        (5, "a moment must be text such as '2026-01-31' or '2026-01-31T08:00', or a date"),
    ],
)
def test_invalid_moment_is_refused_in_plain_words(value, reason):
    with pytest.raises(pydantic.ValidationError) as caught:
        ScheduleSettings(end=value)
    assert reason in str(caught.value)
