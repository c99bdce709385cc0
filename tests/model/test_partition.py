# ruff: noqa: DTZ001 - naive datetimes are partitions too
import base64
import contextlib
import enum
import json
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstone_core.errors import ValidationError
from flowstone_core.model.partition import (
    TEXT_LIMIT,
    decode_partition,
    encode_partition,
    encode_value,
    format_partition,
    parse_partition,
    show_partition,
)

ZONES = [UTC, timezone(timedelta(hours=5, minutes=30)), ZoneInfo("America/New_York")]
TAGS = ["d:", "dt:", "ndt:", "t:", "s:"]


def tagged(tag, text):
    return tag + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


strings = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.builds("{}{}".format, st.sampled_from(TAGS), st.text(st.characters(codec="utf-8"))),
    st.sampled_from(["2025-01-15", "2025-01-15T02:00:00Z", "", " ", "123", "None", "s:", "\x00"]),
)
dates = (
    st.dates()
    | st.datetimes()
    | st.datetimes(
        min_value=datetime(2, 1, 1),
        max_value=datetime(9998, 12, 31),
        timezones=st.sampled_from(ZONES),
    )
)
partitions = st.recursive(
    strings | dates, lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple), max_leaves=5
)
any_text = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.builds("{}{}".format, st.sampled_from(TAGS), st.text(max_size=40)),
    st.builds(tagged, st.sampled_from(["t:", "s:"]), st.text(st.characters(codec="utf-8"))),
    st.builds(
        tagged,
        st.just("t:"),
        st.recursive(
            st.none()
            | st.integers()
            | st.sampled_from(["a", "d:2025-01-15", "d:20250115", "s:YQ"]),
            lambda inner: st.lists(inner) | st.dictionaries(st.just("a"), inner),
            max_leaves=5,
        ).map(json.dumps),
    ),
    st.from_regex(r"(d:|n?dt:)?[0-9]{4}-?[0-9]{2}-?[0-9]{2}([T ][0-9]{2}:[0-9]{2}.{0,10})?"),
)


def exactly(value):
    """A form of a partition in which values that are another slice differ."""
    if isinstance(value, tuple):
        return tuple(exactly(part) for part in value)
    if isinstance(value, datetime):
        aware = value.tzinfo is not None
        plain = (value.astimezone(UTC) if aware else value).replace(tzinfo=None, fold=0)
        return ("aware" if aware else "naive", plain)
    return type(value).__name__, value


def nested(levels):
    value = "a"
    for _ in range(levels):
        value = (value,)
    return value


def encoded(value):
    try:
        return encode_value(value)
    except ValidationError as error:
        assert "bytes as a text; at most" in str(error)  # noqa: PT017 - large values may be drawn
        return None


@given(partitions)
@example("s:")
@example("")
def test_C6_encoded_partition_is_decoded_to_same_value(value):
    text = encoded(value)
    if text is not None:
        assert exactly(decode_partition(text)) == exactly(value)


@given(partitions, partitions)
@example("2025-01-15", date(2025, 1, 15))
@example(date(2025, 1, 15), datetime(2025, 1, 15))
@example(datetime(2025, 1, 15), datetime(2025, 1, 15, tzinfo=UTC))
@example(("a",), "a")
@example(("a", "b"), ("a,b",))
@example((("a",), "b"), ("a", ("b",)))
def test_C6_two_values_never_share_a_text(one, other):
    if encoded(one) is not None and encoded(one) == encoded(other):
        assert exactly(one) == exactly(other)


@given(any_text)
@example("t:W10")
@example("d:0000-01-01")
@example("t:\x00")
def test_C6_any_text_is_canonical_or_refused(text):
    try:
        value = decode_partition(text)
    except ValidationError as error:
        str(error).encode()
    else:
        assert encode_value(value) == text


@given(partitions)
def test_parse_partition_accepts_stored_text(value):
    text = encoded(value)
    if text is not None and not (isinstance(value, str) and value[:4].isdigit()):
        assert exactly(parse_partition(text)) == exactly(value)


@given(any_text)
def test_parse_partition_returns_or_refuses(text):
    with contextlib.suppress(ValidationError):
        encode_partition(parse_partition(text))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (date(2025, 1, 15), "d:2025-01-15"),
        (datetime(2025, 1, 15, 2), "ndt:2025-01-15T02:00:00"),
        (datetime(2025, 1, 15, 2, tzinfo=UTC), "dt:2025-01-15T02:00:00Z"),
        (datetime(2025, 1, 15, 2, 0, 0, 5, tzinfo=UTC), "dt:2025-01-15T02:00:00.000005Z"),
        (datetime(2025, 1, 15, tzinfo=ZoneInfo("America/New_York")), "dt:2025-01-15T05:00:00Z"),
        ("tenant-7", "tenant-7"),
        ("München/a=b?c 100%", "München/a=b?c 100%"),
        ("2025-01-15", "2025-01-15"),
        ("123", "123"),
        ("D:x", "D:x"),
        ("", "s:"),
        ("d:2025-01-15", tagged("s:", "d:2025-01-15")),
        (" x", tagged("s:", " x")),
        ("x ", tagged("s:", "x ")),
        ("a\nb", tagged("s:", "a\nb")),
        ("a\u202eb", tagged("s:", "a\u202eb")),
        (("eu", date(2025, 1, 15)), tagged("t:", '["eu","d:2025-01-15"]')),
        (("ü", "a b"), tagged("t:", '["ü","a b"]')),
    ],
)
def test_each_value_has_one_text(value, text):
    assert encode_value(value) == text
    assert decode_partition(text) == value


@pytest.mark.parametrize("refuse", [encode_partition, parse_partition])
def test_N11_empty_partition_is_refused(refuse):
    with pytest.raises(ValidationError, match="the partition must not be empty"):
        refuse("")
    assert decode_partition("s:") == ""  # in the store of an older version


def test_C5_partitions_are_case_sensitive():
    assert encode_partition("X") != encode_partition("x")


def test_text_is_independent_of_the_unicode_version():
    # U+1FAE8 is assigned since Unicode 15, so `str.isprintable` says no before Python 3.12.
    assert encode_partition("\U0001fae8") == "\U0001fae8"
    assert encode_partition("\U000e0fff\u0378") == "\U000e0fff\u0378"


def test_two_passes_of_an_hour_are_two_partitions():
    zone = ZoneInfo("America/New_York")
    first = datetime(2025, 11, 2, 1, 30, tzinfo=zone)
    assert encode_partition(first) == "dt:2025-11-02T05:30:00Z"
    assert encode_partition(first.replace(fold=1)) == "dt:2025-11-02T06:30:00Z"


class Colour(str, enum.Enum):  # noqa: UP042 - its str() is not its value, unlike a StrEnum's
    RED = "red"


class Loud(str):
    __slots__ = ()

    def startswith(self, *args):
        return True

    def __str__(self):
        return "LOUD"


@pytest.mark.parametrize("value", [Colour.RED, Loud("red")])
def test_string_subclass_is_encoded_as_string(value):
    assert encode_partition(value) == "red"
    assert type(decode_partition(encode_partition(value))) is str


class Pretty(datetime):
    def isoformat(self, *args):
        return "the 15th"


class Nano(datetime):
    """Holds what its text does not say, as pandas' Timestamp does."""

    def __eq__(self, other):
        return False

    def __ne__(self, other):
        return True

    __hash__ = None


class NanoDate(date):
    __eq__ = Nano.__eq__
    __ne__ = Nano.__ne__
    __hash__ = None


class NoOffset(tzinfo):
    def utcoffset(self, when):
        return None


def test_datetime_subclass_is_encoded_as_datetime():
    assert encode_partition(Pretty(2025, 1, 15)) == "ndt:2025-01-15T00:00:00"
    assert encode_partition(Pretty(2025, 1, 15, tzinfo=UTC)) == "dt:2025-01-15T00:00:00Z"
    assert encode_partition(datetime(2025, 1, 15, tzinfo=NoOffset())) == "ndt:2025-01-15T00:00:00"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (
            None,
            "cannot encode a value of type NoneType as a partition: use a date, a datetime",
        ),
        (5, "cannot encode a value of type int as a partition"),
        (True, "cannot encode a value of type bool as a partition"),
        (1.5, "cannot encode a value of type float as a partition"),
        (b"x", "cannot encode a value of type bytes as a partition"),
        (["a"], "cannot encode a value of type list as a partition"),
        (("a", None), "cannot encode a value of type NoneType as a partition"),
        ((), "cannot encode an empty tuple as a partition"),
        (("a", ()), "cannot encode an empty tuple as a partition"),
        ("\ud800", r"the partition '\ud800' holds a lone surrogate, which UTF-8 cannot write"),
        (("a", "\ud800"), "holds a lone surrogate"),
        (Nano(2025, 1, 15), "not a plain datetime"),
        (Nano(2025, 1, 15, tzinfo=UTC), "not a plain datetime"),
        (NanoDate(2025, 1, 15), "not a plain date"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "outside the years 1 to 9999"),
        ("x" * (TEXT_LIMIT + 1), "has 2,001 bytes as a text; at most 2,000 are allowed"),
        ("\u20ac" * 700, "has 2,100 bytes as a text"),
        (nested(9), "tuples are nested more than 8 deep"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_encode_of_invalid_value_is_refused_with_reason(value, reason):
    with pytest.raises(ValidationError) as caught:
        encode_partition(value)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


def test_encode_accepts_eight_levels_and_2000_bytes():
    for value in (nested(8), "x" * TEXT_LIMIT):
        assert decode_partition(encode_partition(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "d:20250115", "d:2025-W03-3", "d:2025-1-15", "d:2025-02-30", "d:", "d: 2025-01-15",
        "d:2025-01-15\n", "d:\u0662\u0660\u0662\u0665-01-15", "d:2025-01-15T00:00:00",
        "dt:2025-01-15T02:00:00", "dt:2025-01-15T02:00:00+00:00", "dt:2025-01-15 02:00:00Z",
        "dt:2025-01-15T02:00Z", "dt:2025-01-15T02:00:00.5Z", "dt:2025-01-15T02:00:00.000000Z",
        "dt:2025-01-15T25:00:00Z", "dt:2025-01-15T24:00:00Z", "dt:2025-01-15T02:00:60Z",
        "ndt:2025-01-15T02:00:00Z", "ndt:2025-01-15",
        "s:YQ", "s:YQ==", "s:ZDp4=", "s:ZDp5\n", "s:Z Dp4", "s:ZDp", "s:\u00e9", "s:_-", "s:gICA",
        "t:", "t:W10", "t:e30", "t:bnVsbA", "t:WzFd", "t:W251bGxd", tagged("t:", '["a", "b"]'),
        tagged("t:", '["\\u0061"]'), tagged("t:", '["\\ud800"]'), tagged("t:", '["d:20250115"]'),
        tagged("t:", "[" * 100_000), tagged("t:", "1" * 10_000), tagged("t:", '["a"] x'),
        "", " ", "a ", "a\nb", "\ud800", "x" * 2_001,
    ],
    ids=lambda text: ascii(text)[:30],
)  # fmt: skip
def test_C6_text_that_is_not_canonical_is_refused(text):
    with pytest.raises(ValidationError, match="is not the text of a partition: "):
        decode_partition(text)


def test_decode_of_deeply_nested_tuple_is_refused():
    text = "a"
    for _ in range(9):
        text = tagged("t:", json.dumps([text], separators=(",", ":")))
    with pytest.raises(ValidationError, match="nested more than 8 deep"):
        decode_partition(text)


def test_decode_error_shows_the_canonical_text():
    with pytest.raises(ValidationError) as caught:
        decode_partition("s:YQ")
    assert str(caught.value) == ("'s:YQ' is not the text of a partition: this value is written 'a'")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2025-01-15", date(2025, 1, 15)),
        ("2025-01-15T02:00Z", datetime(2025, 1, 15, 2, tzinfo=UTC)),
        ("2025-01-15 02:00:30", datetime(2025, 1, 15, 2, 0, 30)),
        ("2025-01-15T02:00:00.500000+05:30", datetime(2025, 1, 14, 20, 30, 0, 500_000, tzinfo=UTC)),
        ("d:2025-01-15", date(2025, 1, 15)),
        (tagged("s:", "d:x"), "d:x"),
        (tagged("s:", "2025-01-15"), "2025-01-15"),
        ("tenant-7", "tenant-7"),
        ("20250115", "20250115"),
        ("2025-01", "2025-01"),
        (" x", " x"),
    ],
)
def test_parse_partition_of_typed_text(text, value):
    assert parse_partition(text) == value


@pytest.mark.parametrize(
    "text", ["2025-02-30", "2025-13-01T00:00", "0001-01-01T00:00+10:00", "2025-01-15T02:00+25:00"]
)
def test_invalid_date_is_refused_with_tagged_form(text):
    with pytest.raises(ValidationError) as caught:
        parse_partition(text)
    assert f"invalid date {text!r}: " in str(caught.value)
    way_out = str(caught.value).split("for a plain string use '")[1].rstrip("'")
    assert parse_partition(way_out) == text


@pytest.mark.parametrize(
    "text", ["", "d:x", "s:YQ", "s:!", "\ud800", "x" * 2_001, tagged("t:", "[" * 100_000)]
)
def test_parse_partition_of_invalid_text_is_refused(text):
    with pytest.raises(ValidationError):
        parse_partition(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (date(2025, 1, 15), "2025-01-15"),
        (datetime(2025, 1, 15, 2, tzinfo=UTC), "2025-01-15 02:00:00Z"),
        (datetime(2025, 1, 15, 2), "2025-01-15 02:00:00"),
        (("eu", date(2025, 1, 15)), "(eu, 2025-01-15)"),
        ("tenant-7", "tenant-7"),
        ("", "''"),
        ("a\x1b[31mb\x00", "ab\\x00"),
    ],
)
def test_C5_format_partition_for_people(value, text):
    assert format_partition(value) == text


def test_S16_partition_is_shown_in_one_line():
    assert format_partition("a\nb\tc\x00") == r"a\nb\tc\x00"
    assert format_partition(("x\ny", "z")) == r"(x\ny, z)"
    assert show_partition("t:no\npartition") == r"t:no\npartition"
