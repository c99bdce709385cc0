import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.errors import ValidationError
from flowstone_core.model.duration import format_duration, parse_duration

MILLISECOND = timedelta(milliseconds=1)
UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1h30m", 5_400),
        ("500ms", 0.5),
        ("2d", 172_800),
        ("1w", 604_800),
        ("0s", 0),
        ("90m", 5_400),
        ("  5m\n", 300),
        ("PT5M", 300),
        ("PT1M30S", 90),
        ("PT1.5S", 1.5),
        ("PT0.000001S", 0.000001),
        ("P1DT12H", 129_600),
        ("P2W", 1_209_600),
        ("P1D", 86_400),
    ],
)
def test_parse_duration_of_allowed_forms(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "5", "s", "-5s", "+5s", "5 s", "1.5h", "5S", "1M", "1y", "5s5s", "5m 5s", "5sec",
        "P", "PT", "P1DT", "P1M", "P1Y", "PT1.5H", "PT5", "pt5m", "P-1D", "P1W1D", "PT1,5S",
        "PT1.1234567S", "\u0665s", "1_0s", "1e3s", "nan", "None", "5s\n6m", "9" * 10 + "s",
    ],
)  # fmt: skip
def test_parse_duration_of_other_text_is_refused(text):
    with pytest.raises(ValidationError) as caught:
        parse_duration(text)
    assert "is not a duration: use 30s, 5m, 1h30m, 2d or ISO 8601" in str(caught.value)


@pytest.mark.parametrize("text", ["999999999w", "P999999999W", "999999999d24h"])
def test_parse_duration_out_of_range_is_refused(text):
    with pytest.raises(ValidationError, match="is longer than a duration can be"):
        parse_duration(text)


def test_long_text_is_truncated_in_message():
    with pytest.raises(ValidationError) as caught:
        parse_duration("1s" * 1_000_000)
    assert len(str(caught.value)) < 300


@given(st.text(max_size=20))
def test_parse_duration_of_any_text_returns_or_refuses(text):
    with contextlib.suppress(ValidationError):
        assert parse_duration(text) >= timedelta(0)


@given(st.dictionaries(st.sampled_from(sorted(UNITS)), st.integers(0, 10_000), min_size=1))
def test_parse_duration_adds_parts_in_any_order(parts):
    text = "".join(f"{count}{unit}" for unit, count in parts.items())
    total = sum(UNITS[unit] * count for unit, count in parts.items())
    assert parse_duration(text) == total * MILLISECOND


@given(st.timedeltas(min_value=timedelta(0)))
def test_formatted_duration_is_parsed_to_the_millisecond(value):
    text = format_duration(value)
    assert parse_duration(text) == value // MILLISECOND * MILLISECOND
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(microseconds=999), "0s"),
        (timedelta(seconds=5_400), "1h30m"),
        (timedelta(days=1, milliseconds=1), "1d1ms"),
        (timedelta(seconds=-5_400), "-1h30m"),
        (timedelta(weeks=1), "7d"),
    ],
)
def test_format_duration_is_short(value, text):
    assert format_duration(value) == text
