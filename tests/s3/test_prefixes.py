from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flowstone_s3.prefixes import PREFIX_LIMIT, Prefixes

NOW = datetime(2025, 3, 1, 0, 30, tzinfo=UTC)


def at(text: str, now: datetime = NOW, zone: str = "UTC", **lookback: float) -> list[str]:
    return Prefixes(text).at(now, timedelta(**lookback), ZoneInfo(zone))


@pytest.mark.parametrize("text", ["", "in/", "a$b/", "$", "$year/", "$$"])
def test_prefix_without_token_is_unchanged(text: str) -> None:
    assert at(text, days=9) == [text]
    assert not Prefixes(text).dated


def test_prefix_tokens_use_the_time_zone() -> None:
    assert at("${year}/${month}/${day}/${hour}") == ["2025/03/01/00"]
    assert at("${year}/${month}/${day}/${hour}", zone="America/New_York") == ["2025/02/28/19"]


def test_prefix_double_dollar_is_a_dollar() -> None:
    assert at("a$$b/${year}") == ["a$b/2025"]
    assert at("$${year}") == ["${year}"]


def test_prefixes_are_sorted_and_unique() -> None:
    assert at("${year}-${month}-${day}/", days=2) == ["2025-02-27/", "2025-02-28/", "2025-03-01/"]
    assert at("${year}-${month}/", days=2) == ["2025-02/", "2025-03/"]
    assert at("${year}/", days=2) == ["2025/"]


def test_prefixes_zero_lookback_is_now() -> None:
    assert at("${year}-${month}-${day}/") == ["2025-03-01/"]


def test_prefixes_lookback_starts_exactly() -> None:
    assert at("${year}-${month}-${day}/", minutes=30) == ["2025-03-01/"]
    assert at("${year}-${month}-${day}/", minutes=31) == ["2025-02-28/", "2025-03-01/"]


@pytest.mark.parametrize(
    ("zone", "now", "hours"),
    [
        # Forward by an hour: there is no 02.
        ("Europe/Warsaw", datetime(2025, 3, 30, 2, 30, tzinfo=UTC), ["00", "01", "03", "04"]),
        # Back by an hour: 02 comes twice, and is one.
        ("Europe/Warsaw", datetime(2025, 10, 26, 2, 30, tzinfo=UTC), ["01", "02", "03"]),
        # Forward by half an hour: 02 is half as long.
        (
            "Australia/Lord_Howe",
            datetime(2025, 10, 4, 17, 15, tzinfo=UTC),
            ["00", "01", "02", "03", "04"],
        ),
        ("Asia/Kathmandu", datetime(2025, 1, 1, 2, 14, tzinfo=UTC), ["04", "05", "06", "07"]),
    ],
)
def test_prefixes_clock_change_skips_no_hour(zone: str, now: datetime, hours: list[str]) -> None:
    text = "${year}${month}${day}${hour}"
    assert [prefix[-2:] for prefix in at(text, now, zone, hours=3)] == hours


def test_prefixes_cover_every_day_in_every_zone() -> None:
    for zone in ("UTC", "America/New_York", "Pacific/Apia", "Africa/Cairo"):
        days = at("${year}-${month}-${day}", zone=zone, days=365)
        assert len(days) == 366
        assert days == sorted(days)


def test_prefixes_over_the_limit_are_refused() -> None:
    assert len(at("${year}-${month}-${day}", days=PREFIX_LIMIT - 1)) == PREFIX_LIMIT
    with pytest.raises(ValueError, match=r"more than 400 prefixes.*remove the last token"):
        at("${year}-${month}-${day}-${hour}", days=30)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("${yaer}/", r"unknown token \$\{yaer\}; use \$\{year\}, \$\{month\}"),
        ("${YEAR}/", r"unknown token \$\{YEAR\}"),
        ("${year}/${minute}", r"unknown token \$\{minute\}"),
        ("${year}/$/", "invalid '\\$' in prefix"),
        ("${}", "invalid '\\$' in prefix"),
        ("${year", "invalid '\\$' in prefix"),
        ("${month}/", r"\$\{year\} is needed beside \$\{month\}"),
        ("${hour}/", r"\$\{year\} and \$\{month\} and \$\{day\} are needed beside \$\{hour\}"),
        ("${year}/${day}/", r"\$\{month\} is needed beside \$\{day\}"),
    ],
)
def test_prefix_invalid_template_names_the_fault(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Prefixes(text)
