from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from flowstone_db.value import canonical, decode_value, encode_row, encode_value

EAST = timezone(timedelta(hours=2))
ID = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

FORMS: list[tuple[object, Any]] = [
    (None, None),
    (True, True),
    (7, 7),
    (2**63 - 1, 2**63 - 1),
    (2**63, {"int": "9223372036854775808"}),
    (-(2**63), -(2**63)),
    (1.5, 1.5),
    (math.inf, {"float": "inf"}),
    ("", ""),
    (Decimal("1.50"), {"decimal": "1.5"}),
    (Decimal("-0.00"), {"decimal": "0"}),
    (Decimal("1e30"), {"decimal": "1E+30"}),
    (Decimal("1" * 40 + ".10"), {"decimal": "1" * 40 + ".1"}),
    (datetime(2025, 1, 15, 10, tzinfo=EAST), {"datetime": "2025-01-15T08:00:00+00:00"}),
    (datetime(2025, 1, 15, 10, 0, 0, 5), {"datetime": "2025-01-15T10:00:00.000005"}),  # noqa: DTZ001
    (date(2025, 1, 15), {"date": "2025-01-15"}),
    (time(10, 30), {"time": "10:30:00"}),
    (timedelta(days=1, microseconds=1), {"microseconds": "86400000001"}),
    (ID, {"uuid": str(ID)}),
    (b"\x00\xff", {"bytes": "AP8="}),
]


@pytest.mark.parametrize(("value", "form"), FORMS)
def test_Q3_value_round_trips_through_its_form(value: Any, form: Any) -> None:
    written = encode_value(value)
    assert canonical(written) == canonical(form)
    back = decode_value(json.loads(json.dumps(written)))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (math.nan, {"float": "nan"}),
        (Decimal("NaN"), {"decimal": "NaN"}),
        ([1, None, Decimal(2)], [1, None, {"decimal": "2"}]),
        ((date(2025, 1, 15),), [{"date": "2025-01-15"}]),
        ({"b": [1.0], "a": {}}, {"json": {"a": {"json": {}}, "b": [1.0]}}),
        (bytearray(b"\x00"), {"bytes": "AA=="}),
        (memoryview(b"\x00"), {"bytes": "AA=="}),
    ],
)
def test_Q3_value_without_decoder_has_a_form(value: Any, form: Any) -> None:
    assert canonical(encode_value(value)) == canonical(form)


def test_Q3_values_of_different_types_differ() -> None:
    values = [1, 1.0, True, "1", Decimal(1), None, "", 0, False, "2025-01-15", date(2025, 1, 15)]
    values += [datetime(2025, 1, 15), datetime(2025, 1, 15, tzinfo=UTC)]  # noqa: DTZ001
    assert len({canonical(encode_value(value)) for value in values}) == len(values)


def test_value_nan_is_decoded_as_number() -> None:
    assert math.isnan(decode_value({"float": "nan"}))  # type: ignore[arg-type]
    assert decode_value({"int": "9223372036854775808"}) == 2**63


@pytest.mark.parametrize("form", [{"json": {}}, {"uuid": 7}, [1], {"a": "b", "c": "d"}, {}])
def test_value_foreign_form_is_refused(form: Any) -> None:
    with pytest.raises(ValueError, match="invalid stored value"):
        decode_value(form)


def test_value_row_of_one_column_is_the_value() -> None:
    assert encode_row({"n": Decimal(1)}) == {"decimal": "1"}
    assert encode_row({"n": 1, "m": None}) == {"n": 1, "m": None}
    with pytest.raises(ValueError, match="column 'n': unsupported type Fraction"):
        encode_row({"n": Fraction(1, 2)})
