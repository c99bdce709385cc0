"""Texts of dates, as databases, languages and people write them."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from flowstone_core import ValidationError, encode_partition, partition_from_text
from flowstone_core.model.date_text import looks_like_a_date, read_date
from flowstone_core.model.partition import parse_partition
from flowstone_core.scheduling.partition_template import PartitionTemplate

TWO = datetime(2025, 1, 15, 2, tzinfo=UTC)
DATES = [
    ("2025-01-15", date(2025, 1, 15)),
    ("2025-01-15T02:00Z", TWO),
    ("2025-01-15 02:00:00.000000Z", TWO),
    ("2025-01-15T02:00:00.0000000Z", TWO),  # .NET
    ("2025-01-15T02:00:00.000000000Z", TWO),  # Go, Java
    ("2025-01-15T02:00:00+0000", TWO),
    ("2025-01-15 02:00:00+00", TWO),  # PostgreSQL
    ("2025-01-15 02:00:00 +0000", TWO),  # Ruby
    ("2025-01-15 02:00:00 UTC", TWO),
    ("2025-01-15t02:00:00z", TWO),
    ("2025-01-15T02:00:00,000Z", TWO),
    ("2025-01-15T07:30:00+0530", TWO),
    ("2025-01-14T21:00:00-05:00", TWO),
    ("2025-01-15 02:00:00.1234567", datetime(2025, 1, 15, 2, 0, 0, 123456)),  # noqa: DTZ001
    ("2025-01-15T02:00", datetime(2025, 1, 15, 2)),  # noqa: DTZ001
]


@pytest.mark.parametrize(("text", "value"), DATES)
@pytest.mark.parametrize(
    "read",
    [partition_from_text, parse_partition, lambda text: PartitionTemplate(text).partition(TWO)],
    ids=["source", "command", "template"],
)
def test_F7_date_text_is_one_partition_everywhere(read, text, value):
    assert encode_partition(read(text)) == encode_partition(value)


@pytest.mark.parametrize(
    "text",
    ["", "20250115", "2025-01", "2025-1-5", "2025-01-15 ", "2025-01-15T02", "2025-01-15T02:00:00.",
     "2025-01-15T02:00+0:00", "2025-01-15T02:00+00:60", "2025-01-15T02:00  Z", "d:2025-01-15",
     "2025-01-15T02:00 Z2", "\uff12025-01-15"],
)  # fmt: skip
def test_F7_other_text_stays_a_text(text):
    assert read_date(text) is None
    assert not looks_like_a_date(text)
    assert partition_from_text(text) == text


@pytest.mark.parametrize(
    "text", ["2025-02-30", "2025-01-15T25:00", "2025-01-15 02:61Z", "0001-01-01T00:00+1000"]
)
def test_F7_invalid_date_text_is_refused(text):
    assert looks_like_a_date(text)
    with pytest.raises(ValidationError, match=r"^invalid date '"):
        partition_from_text(text)


def test_date_text_keeps_its_offset():
    found = read_date("2025-01-15T02:00:00.5-0330")
    assert found == datetime(
        2025, 1, 15, 2, 0, 0, 500_000, tzinfo=timezone(-timedelta(hours=3, minutes=30))
    )
