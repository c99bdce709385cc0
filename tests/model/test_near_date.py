"""Texts that a person means as a date."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.model.date_text import read_date
from flowstone_core.model.near_date import near_date, near_month


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2025-1-5", "2025-01-05"),
        ("20250105", "2025-01-05"),
        ("2025-01-05 ", "2025-01-05"),
        (" 2025-01-05", "2025-01-05"),
        ("2025-01-05\n", "2025-01-05"),
        ("2025/01/05", "2025-01-05"),
        ("2025.1.5", "2025-01-05"),
        ("2025_01_05", "2025-01-05"),
        ("5.1.2025", "2025-01-05"),
        ("'2025-01-05'", "2025-01-05"),
        ("\u201c2025-01-05\u201d", "2025-01-05"),
        ("2025\u201301\u201305", "2025-01-05"),
        ("\uff12\uff10\uff12\uff15-01-05", "2025-01-05"),
        ("2025-01-05 8:00", "2025-01-05T08:00"),
        ("2025-1-5T8:00 Z", "2025-01-05T08:00Z"),
        ("2025-01-05T8:00 UTC", "2025-01-05T08:00Z"),
        ("20250105T080000Z", "2025-01-05T08:00Z"),
        ("20250105 08:00:09", "2025-01-05T08:00:09"),
        ("202501050800", "2025-01-05T08:00"),
        ("20250105080009", "2025-01-05T08:00:09"),
        ("2025-1-5 08:00+1", "2025-01-05T08:00+01:00"),
        ("2025-1-5 08:00-0330", "2025-01-05T08:00-03:30"),
        ("2025-1-5 08:00+05:45", "2025-01-05T08:00+05:45"),
        ("Jan 5 2025", "2025-01-05"),
        ("January 5th, 2025", "2025-01-05"),
        ("5 jan 2025", "2025-01-05"),
        ("2025-Jan-05", "2025-01-05"),
        ("Mon, 05 Jan 2025 08:00:00 GMT", "2025-01-05T08:00Z"),
        ("2025-01-05 08:00:00 +0000 UTC", "2025-01-05T08:00+00:00"),
        ("2025-01-05 08:00:00.123 +0100 CET m=+0.5", "2025-01-05T08:00+01:00"),
        ("13/1/2025", "2025-01-13"),
        ("1-1-2025", "2025-01-01"),
    ],
)
def test_N11_near_date_has_its_canonical_form(text, date):
    assert near_date(text) == date
    assert read_date(date) is not None


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("5-1-2025", "2025-01-05 or 2025-05-01"),
        ("1/5/2025", "2025-05-01 or 2025-01-05"),
        ("25-01-05", "2025-01-05 or 2005-01-25"),
    ],
)
def test_N11_near_date_of_unclear_order_names_both(text, dates):
    assert near_date(text) == dates


@pytest.mark.parametrize(
    "text",
    [
        "13/13/2025", "99-99-99", "10.11.12", "Jan 32 2025", "Jam 5 2025", "2025-01-05T08:00 EST",
        "2025-01-05", "2025-01-05T08:00Z", "2025-01-05 08:00:00.123", "2025-01-05T08:00+0100",
        "2025-02-30", "2025-2-30", "20251399", "12345678", "99991231", "18991231", "2025010508",
        "2025-01", "2025", "tenant-7", "", "2025-1/5", "1-2-3", "2025-1-5T08:00+99:99",
        "2025-01-05T24:00", "1.2.3", "v2025-1-5",
    ],
)  # fmt: skip
def test_N11_other_text_is_not_near_a_date(text):
    assert near_date(text) is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2025-01", "2025-01-01"), ("2025/1", "2025-01-01"), (" 2025-12", "2025-12-01"),
        ("2025-13", None), ("2025-00", None), ("2025", None), ("202501", None), ("0001-01", None),
    ],
)  # fmt: skip
def test_N11_month_has_a_first_day(text, day):
    assert near_month(text) == day


@given(st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)))  # noqa: DTZ001
def test_N11_every_compact_date_is_found(at):
    assert near_date(f"{at:%Y%m%d}") == at.date().isoformat()
    assert near_date(f"{at.year}-{at.month}-{at.day} ") == at.date().isoformat()


@given(st.text())
def test_near_date_of_any_text_is_a_date_or_none(text):
    found = near_date(text)
    assert found is None or all(read_date(each) is not None for each in found.split(" or "))
