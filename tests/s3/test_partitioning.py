from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from flowstone_s3.partitioning import KeyPattern, date_in_key
from hypothesis import given
from hypothesis import strategies as st

DAY = date(2025, 1, 15)
FORMS = [
    "{0:%Y}-{0:%m}-{0:%d}",
    "{0:%Y}/{0:%m}/{0:%d}",
    "{0:%Y}{0:%m}{0:%d}",
    "year={0.year}/month={0.month}/day={0.day}",
    "year={0:%Y}/month={0:%m}/day={0:%d}",
]


@pytest.mark.parametrize(
    "key",
    [
        "2025-01-15",
        "orders/2025-01-15.csv",
        "orders/2025/01/15/part-0001.csv",
        "orders_20250115.csv",
        "orders20250115T103000Z.csv",
        "orders/dt=2025-01-15/part.parquet",
        "lake/year=2025/month=01/day=15/hour=03/part.parquet",
        "lake/year=2025/month=1/day=15",
        "lake/YEAR=2025/MONTH=1/DAY=15/x",
        "2025-01-14/orders-20250115.csv",
        "2025-01-15/orders-20250230.csv",
        "2025-01-15/order-99999999.csv",
        "2025-01-15/20261231-1a2b-4c3d-8e9f-0123456789ab.parquet",
        "2025-01-15/0f20261231ab9c77.md5",
        "2025-01-15/20261231103000.csv",
        "2025-01-15/2026-12/31",
        "2025-01-15/10002-12-31",
        "2025-01-15/1026-12-31",
        "2025-01-15/myyear=2026/month=12/day=31",
        "2025-01-15/year=2026/month=12/day=311",
        "2025-01-15/year=2026/month=13/day=31",
        "2025-01-15/٢٠٢٦-١٢-٣١",
        "2025-01-15 a+b%20c.csv",
    ],
)
def test_partition_last_valid_date_in_key_counts(key: str) -> None:
    assert date_in_key(key) == DAY


@pytest.mark.parametrize(
    "key", ["", "orders.csv", "2025-01", "2025-02-29.csv", "1-2-3", "2025-1-5"]
)
def test_partition_key_without_date_has_none(key: str) -> None:
    assert date_in_key(key) is None


@given(
    st.dates(date(1900, 1, 1), date(2199, 12, 31)),
    st.sampled_from(FORMS),
    st.text(st.characters(exclude_categories=["Cs", "N"]), max_size=20),
    st.text(st.characters(exclude_categories=["Cs", "N"]), max_size=20),
)
def test_partition_date_is_found_in_any_text(day: date, form: str, before: str, after: str) -> None:
    assert date_in_key(f"{before}/{form.format(day)}/{after}") == day


@given(st.text())
def test_partition_any_key_raises_no_error(key: str) -> None:
    assert isinstance(date_in_key(key), date | None)


@pytest.mark.parametrize(
    ("pattern", "key", "partition"),
    [
        (r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)", "x/20250115.csv", DAY),
        (
            r"(?P<day>\d+)\.(?P<month>\d+)\.(?P<year>\d+) (?P<hour>\d+)h",
            "15.1.2025 7h",
            datetime(2025, 1, 15, 7, tzinfo=UTC),
        ),
        (r"(?P<partition>\d{4}-\d\d)", "monthly/2025-01.csv", "2025-01"),
        (r"^(?P<tenant>[^/]+)/", "acme/x.csv", "acme"),
        (r"^(?P<tenant>[^/]+)/(?P<kind>[^/]+)/", "acme/in/x.csv", ("acme", "in")),
        (
            r"^(?P<tenant>\w+)/(?P<year>\d+)-(?P<month>\d+)-(?P<day>\d+)/(?P<kind>\w+)",
            "acme/2025-01-15/in",
            ("acme", DAY, "in"),
        ),
        (
            r"^(?P<year>\d+)/(?P<tenant>\w+)/(?P<month>\d+)-(?P<day>\d+)",
            "2025/acme/01-15",
            (DAY, "acme"),
        ),
        (r"(?P<tenant>[^/]*)/x", "/x", ""),
    ],
)
def test_partition_named_groups_form_the_partition(
    pattern: str, key: str, partition: object
) -> None:
    found = KeyPattern(pattern).partition(key)
    assert found == partition
    assert type(found) is type(partition)


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("(", "invalid regular expression: missing"),
        (r"\d+", "names no group"),
        (r"(\d+)", "names no group"),
        (r"(?P<year>\d+)-(?P<month>\d+)", "year and month only: year, month and day go together"),
        (r"(?P<hour>\d+)", "hour only"),
    ],
)
def test_partition_invalid_pattern_is_refused(pattern: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        KeyPattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "key", "complaint"),
    [
        (r"(?P<p>\d+)", "abc", "does not match"),
        (r"(?P<p>\d+)?abc", "abc", "the group 'p' of partition_pattern matches nothing"),
        (r"(?P<year>....)-(?P<month>..)-(?P<day>..)", "2025-02-30", "invalid date '2025-02-30'"),
        (r"(?P<year>..)-(?P<month>..)-(?P<day>..)", "25-01-15", "invalid date '25-01-15'"),
        (r"(?P<year>....)-(?P<month>..)-(?P<day>..)", "2025-xx-15", "invalid date"),
        (
            r"(?P<year>....)-(?P<month>..)-(?P<day>..)",
            "\uff12\uff10\uff12\uff15-01-15",
            "invalid date",
        ),
        (
            r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)(?P<hour>\d\d)",
            "2025011524",
            "invalid date",
        ),
        (r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d+)", "2025-01-" + "9" * 30, "invalid date"),
    ],
)
def test_partition_pattern_without_match_is_an_error(
    pattern: str, key: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        KeyPattern(pattern).partition(key)
