"""Templates of partitions."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from flowstone_core.errors import ValidationError
from flowstone_core.scheduling.partition_template import TOKENS, PartitionTemplate

AT = datetime(2026, 3, 8, 7, 5, 9, tzinfo=UTC).astimezone(ZoneInfo("America/New_York"))


@pytest.mark.parametrize(
    ("text", "partition"),
    [
        ("${date}", date(2026, 3, 8)),
        ("${year}-${month}-${day}", date(2026, 3, 8)),
        ("${year}${month}${day}", "20260308"),
        ("${date}T${hour}:${minute}:${second}${offset}", AT.astimezone(UTC)),
        ("${date}T${hour}:${minute}", datetime(2026, 3, 8, 3, 5)),  # noqa: DTZ001
        ("${instant}", datetime(2026, 3, 8, 7, 5, 9, tzinfo=UTC)),
        ("week of ${date}", "week of 2026-03-08"),
        ("all", "all"),
        ("$$${year}", "$2026"),
    ],
)
def test_template_result_is_parsed_as_typed_text(text, partition):
    assert PartitionTemplate(text).partition(AT) == partition


def test_T12_passes_of_an_hour_differ_by_offset():
    zone = ZoneInfo("America/New_York")
    template = PartitionTemplate("${date}T${hour}:${minute}${offset}")
    passes = [datetime(2026, 11, 1, 1, 30, tzinfo=zone, fold=fold) for fold in (0, 1)]
    first, second = (template.partition(each) for each in passes)
    assert second - first == passes[1].astimezone(UTC) - passes[0].astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty partition template; use ${year}"),
        ("${yera}", "unknown token ${yera}: did you mean 'year'?"),
        ("${zzz}", "unknown token ${zzz}: use ${year}, ${month}"),
        ("5 $", "has a '$' without a token"),
        ("${YEAR}", "has a '$' without a token"),
        ("${year", "has a '$' without a token"),
        ("${year.real}", "has a '$' without a token"),
        ("${year}-13-${day}", "invalid date"),
    ],
)
def test_invalid_template_is_refused(text, says):
    with pytest.raises(ValidationError) as caught:
        PartitionTemplate(text)
    assert says in str(caught.value)


def test_template_years_have_four_digits():
    assert PartitionTemplate("y${year}").partition(datetime(999, 1, 1, tzinfo=UTC)) == "y0999"


def test_template_tokens_are_text():
    assert all(isinstance(of(AT), str) for of in TOKENS.values())
