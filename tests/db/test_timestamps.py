from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flowstone_db.timestamps import date_of, timestamp_format, wall_time

WARSAW = ZoneInfo("Europe/Warsaw")
MOMENT = datetime(2025, 1, 15, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime(2025, 1, 1, tzinfo=timezone(timedelta(hours=5))), MOMENT),
        (datetime(2025, 1, 1), datetime(2025, 1, 16, 0, 30)),  # noqa: DTZ001
        ("2025-01-01 00:00:00", "2025-01-16 00:30:00"),
        ("2025-01-01T00:00:00.5", "2025-01-16T00:30:00"),
        ("2025-01-01T00:00:00Z", "2025-01-15T23:30:00"),
        ("2025-01-01 00:00:00.123-05:00", "2025-01-15 18:30:00"),
        ("2025-01-01T00:00:00.0000000+0530", "2025-01-16T05:00:00"),
        ("2025-01-01 00:00:00 UTC", "2025-01-15 23:30:00"),
        (1736942400, 1736983800.0),
        (Decimal("1736942400.5"), 1736983800.0),
        (1736942400000, 1736983800000.0),
        (1736942400000000, 1736983800000000.0),
    ],
)
def test_timestamp_is_written_in_column_format(value: Any, written: object) -> None:
    found = timestamp_format(value).write(MOMENT, WARSAW)
    assert found == written
    assert type(found) is type(written)


@pytest.mark.parametrize("offset", ["", "Z", "+0000", " UTC"])
@pytest.mark.parametrize("microsecond", [0, 120_000, 123_456])
def test_F4_bound_of_a_text_is_below_all_texts_of_its_time(offset: str, microsecond: int) -> None:
    moment = datetime(2025, 1, 15, 12, 0, 5, microsecond, tzinfo=UTC)
    bound = timestamp_format(f"2025-01-15 12:00:00{offset}").write(moment, UTC)
    fraction = f".{microsecond:06}"
    same = {fraction, fraction.rstrip("0").rstrip("."), f"{fraction}7"}
    assert all(str(bound) <= f"2025-01-15 12:00:05{each}{offset}" for each in same)
    assert f"2025-01-15 12:00:04.999999{offset}" < str(bound)


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (MOMENT, 16),
        (MOMENT.replace(tzinfo=None), 15),
        ("2025-01-15 23:30:00", 15),
        ("2025-01-15T23:30:00Z", 16),
        ("2025-01-15T23:30:00.123456+05:00", 15),
        (1736983800, 16),
        (Decimal("1736983800.25"), 16),
        (1736983800000, 16),
    ],
)
def test_timestamp_date_is_in_the_zone(value: Any, day: int) -> None:
    assert date_of(value, WARSAW) == date(2025, 1, day)


@pytest.mark.parametrize(
    "value", [None, True, math.nan, Decimal("NaN"), -1, 10**18, "", "15.01.2025 12:00:00", b""]
)
def test_timestamp_invalid_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="invalid timestamp"):
        timestamp_format(value)


@pytest.mark.parametrize("value", [date(2025, 1, 15)])
def test_timestamp_date_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="a date has no time"):
        timestamp_format(value)
    with pytest.raises(ValueError, match="month must be"):
        date_of("2025-13-15 12:00:00", WARSAW)


@pytest.mark.parametrize("value", [None, 1736942400, date(2025, 1, 15), "2025-01-15"])
def test_timestamp_without_wall_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="invalid timestamp"):
        wall_time(value)
