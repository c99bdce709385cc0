from __future__ import annotations

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flowstone_s3.errors import PartitionError
from flowstone_s3.key_dates import date_in_key
from flowstone_s3.key_pattern import KeyPattern
from flowstone_s3.partitioning import KeyPartitions, PartitionConfig
from flowstone_s3.unreadable import UnreadableKeyError
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core import RetryLater, SensorBroken, encode_partition
from flowstone_core.plugin_api import PartitionTemplate

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
        "orders-20250114/2025-01-15.csv",
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
def test_partition_valid_date_in_key_counts(key: str) -> None:
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
    with suppress(UnreadableKeyError):
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
        (r"(?P<partition>[\d-]+)\.csv", "x/2025-01-15.csv", DAY),
        (
            r"(?P<at>[\dTZ:.-]+)/x",
            "2025-01-15T07:00:00.0000000Z/x",
            datetime(2025, 1, 15, 7, tzinfo=UTC),
        ),
    ],
)
def test_F7_partition_named_groups_form_the_partition(
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
        (r"(?P<p>[\d-]+)", "2025-02-30", "invalid date.*'2025-02-30'"),
        (r"(?P<tenant>[^/]*)/x", "/x", "partition_pattern matches an empty partition"),
        (r"(?P<p>\d+)?abc", "abc", "the group 'p' of partition_pattern matches nothing"),
        (r"(?P<year>....)-(?P<month>..)-(?P<day>..)", "2025-02-30", "invalid date.*'2025-02-30'"),
        (r"(?P<year>..)-(?P<month>..)-(?P<day>..)", "25-01-15", "invalid date.*'25-01-15'"),
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


# --- hours, and the date of the poll --------------------------------------------------------------

HOURLY = r"(?P<year>\d{4})/(?P<month>\d\d)/(?P<day>\d\d)/(?P<hour>\d\d)"
NOW = datetime(2025, 1, 15, 20, 30, tzinfo=UTC)


def partition_of(key: str, **settings: object) -> object:
    return KeyPartitions(PartitionConfig.model_validate(settings)).partition(key, NOW)


@pytest.mark.parametrize(
    ("zone", "key"),
    [
        ("UTC", "2025/01/15/09"),
        ("Asia/Tokyo", "2025/01/15/09"),
        ("America/New_York", "2025/07/15/23"),
        ("Asia/Kathmandu", "2025/01/15/00"),
        ("Europe/Berlin", "2025/03/30/03"),
        # Comes twice: the first of both.
        ("Europe/Berlin", "2025/10/26/02"),
    ],
)
def test_F10_key_hour_meets_the_partition_of_a_schedule(zone: str, key: str) -> None:
    found = partition_of(key, partition_pattern=HOURLY, timezone=zone)
    local = datetime.strptime(key, "%Y/%m/%d/%H").replace(tzinfo=ZoneInfo(zone))
    schedule = PartitionTemplate("${date}T${hour}:00${offset}").partition(local)
    assert encode_partition(found) == encode_partition(schedule)  # type: ignore[arg-type]


def test_F10_key_hour_in_tokyo_is_an_instant() -> None:
    found = partition_of("2025/01/15/09", partition_pattern=HOURLY, timezone="Asia/Tokyo")
    assert found == datetime(2025, 1, 15, 0, tzinfo=UTC)
    assert partition_of("2025/01/15/09", partition_pattern=HOURLY) == found + timedelta(hours=9)  # type: ignore[operator]


def test_F10_key_hour_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnreadableKeyError, match=r"not exist in Europe/Berlin: set timezone = UTC"):
        partition_of("2025/03/30/02", partition_pattern=HOURLY, timezone="Europe/Berlin")


@pytest.mark.parametrize("key", ["0001/01/01/00", "9999/12/31/23"])
def test_F10_key_hour_beyond_all_time_is_refused(key: str) -> None:
    zone = "Asia/Tokyo" if key.startswith("0") else "America/New_York"
    with pytest.raises(UnreadableKeyError, match="does not exist"):
        partition_of(key, partition_pattern=HOURLY, timezone=zone)


@pytest.mark.parametrize(
    ("settings", "partition"),
    [
        ({"partition": "${date}"}, DAY),
        ({"partition": "${date}", "timezone": "Asia/Tokyo"}, date(2025, 1, 16)),
        ({"partition": "week-${date}"}, "week-2025-01-15"),
        ({"partition": "rest"}, "rest"),
        ({"partition": "${date}", "partition_pattern": "(?P<year>Y)(?P<month>)(?P<day>)"}, DAY),
    ],
)
def test_U3_key_without_date_takes_that_of_the_poll(
    settings: dict[str, str], partition: object
) -> None:
    assert partition_of("upload.csv", **settings) == partition


def test_U3_key_with_date_keeps_it() -> None:
    assert partition_of("2024-01-02.csv", partition="${date}") == date(2024, 1, 2)
    with pytest.raises(UnreadableKeyError, match="two different dates"):
        partition_of("20240102_20240103", partition="${date}")
    with pytest.raises(UnreadableKeyError, match="invalid date"):
        partition_of("2025/02/30/00", partition="${date}", partition_pattern=HOURLY)


def test_U3_refusal_names_the_setting() -> None:
    with pytest.raises(
        UnreadableKeyError, match=r"no date found in the key: .*partition = \$\{date"
    ):
        partition_of("upload.csv")


@pytest.mark.parametrize("error", [ConnectionError("down"), RuntimeError("secret"), OSError()])
def test_N7_partition_fn_other_failure_fails_the_poll(error: Exception) -> None:
    def fail(key: str) -> str:
        raise error

    with pytest.raises(PartitionError, match=f"{type(error).__name__} for 'a'") as caught:
        partition_of("a", partition_fn=fail)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "reason", "detail"),
    [
        (lambda key: {}[key], "partition_fn raised KeyError", ""),
        (int, "partition_fn raised ValueError", "invalid literal"),
        (lambda key: 7, "partition_fn returned an invalid partition", "cannot encode"),
    ],
)
def test_N7_partition_fn_unreadable_key_has_a_reason(
    function: object, reason: str, detail: str
) -> None:
    with pytest.raises(UnreadableKeyError) as caught:
        partition_of("a\n", partition_fn=function)
    assert caught.value.reason == reason
    assert caught.value.detail.startswith(detail)
    assert caught.value.detail.isprintable()


@pytest.mark.parametrize("intent", [RetryLater(5), SensorBroken("stop")])
def test_partition_fn_intent_is_passed_on(intent: Exception) -> None:
    def state_it(key: str) -> str:
        raise intent

    with pytest.raises(type(intent)):
        partition_of("a", partition_fn=state_it)
