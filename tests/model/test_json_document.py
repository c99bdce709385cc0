import enum
import json
import math
from datetime import UTC, date, datetime
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.errors import ValidationError
from flowstone_core.model.json_document import (
    PAYLOAD_LIMIT,
    STATE_LIMIT,
    dump_document,
    load_document,
    load_object,
    map_texts,
    same_document,
)

texts = st.text(st.characters(exclude_categories=["Cs"]))
documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=20,
)


def dump(value, limit=STATE_LIMIT):
    return dump_document(value, what="the state", limit=limit)


def exactly(value):
    """A form of a value in which True, 1 and 1.0 differ, and so do 0.0 and -0.0."""
    if isinstance(value, list):
        return [exactly(item) for item in value]
    if isinstance(value, dict):
        return {key: exactly(item) for key, item in value.items()}
    return type(value), repr(value)


@given(documents)
def test_document_is_loaded_as_dumped(value):
    text = dump(value)
    assert exactly(load_document(text)) == exactly(value)
    assert dump(load_document(text)) == text
    assert same_document(value, text)


@given(documents, documents)
def test_equal_texts_mean_equal_values(one, other):
    same = exactly(one) == exactly(other)
    assert (dump(one) == dump(other)) is same
    assert same_document(one, dump(other)) is same


def test_text_is_independent_of_key_order():
    assert dump({"b": 1, "a": [1, 2]}) == dump({"a": [1, 2], "b": 1}) == '{"a":[1,2],"b":1}'


def test_P7_each_load_returns_a_new_value():
    text = dump({"seen": [1]})
    load_document(text)["seen"].append(2)
    assert load_document(text) == {"seen": [1]}


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Ratio(float):
    pass


class MyDict(dict):
    def items(self):
        raise RuntimeError


NOT_JSON = [
    ({1, 2}, "it is a set"),
    ((1, 2), "it is a tuple"),
    (b"bytes", "it is a bytes"),
    (datetime(2026, 1, 31, tzinfo=UTC), "it is a datetime"),
    (date(2026, 1, 31), "it is a date"),
    (MappingProxyType({}), "it is a mappingproxy"),
    (object(), "it is a object"),
    (dump, "it is a function"),
    (Colour.RED, "it is a Colour"),
    (Level.HIGH, "it is a Level"),
    (Ratio(1), "it is a Ratio"),
    (MyDict(a=1), "it is a MyDict"),
    (math.nan, "it is NaN or infinite"),
    (math.inf, "it is NaN or infinite"),
    (-math.inf, "it is NaN or infinite"),
    (2**63, "it is an integer past 64 bits"),
    (-(2**63) - 1, "it is an integer past 64 bits"),
    ("\ud800", "it holds a lone surrogate, which UTF-8 cannot write"),
    ({1: "a"}, "its key 1 is not a plain string"),
    ({None: "a"}, "its key None is not a plain string"),
    ({Colour.RED: "a"}, "its key <Colour.RED: 'red'> is not a plain string"),
    ({"\udfff": "a"}, r"its key '\udfff' is not a plain string"),
]


@pytest.mark.parametrize(("value", "reason"), NOT_JSON, ids=lambda value: type(value).__name__)
def test_P5_value_that_json_changes_is_refused_with_path(value, reason):
    with pytest.raises(ValidationError) as caught:
        dump(value)
    assert str(caught.value) == f"the state is not JSON: {reason}"
    with pytest.raises(ValidationError) as caught:
        dump({"feeds": [{}, {"last": value}]})
    assert str(caught.value) == f"the state['feeds'][1]['last'] is not JSON: {reason}"


def recursive_list():
    value = []
    value.append([value])
    return value


def recursive_dict():
    value = {}
    value["me"] = {"again": value}
    return value


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("make", [recursive_list, recursive_dict, deep])
def test_P5_cyclic_value_is_refused(make):
    with pytest.raises(ValidationError, match="refers to itself or is nested more than 100 deep"):
        dump(make())
    assert same_document(make(), "[]") is False


def test_hundred_levels_are_accepted():
    value = json.loads("[" * 100 + "]" * 100)
    assert load_document(dump(value)) == value
    with pytest.raises(ValidationError, match="nested more than 100 deep"):
        dump([[value]])


def test_P6_large_document_is_refused_with_size():
    assert len(dump("é" * 49, limit=100).encode()) == 100
    with pytest.raises(ValidationError) as caught:
        dump("é" * 50, limit=100)
    assert str(caught.value) == "the state has 102 bytes of JSON; at most 100 are allowed"


def test_P6_limits_of_state_and_payload():
    assert STATE_LIMIT == 8 * 1024 * 1024
    assert PAYLOAD_LIMIT == 256 * 1024


@pytest.mark.parametrize(
    "value", [value for value, _ in NOT_JSON], ids=lambda value: type(value).__name__
)
def test_same_document_never_raises(value):
    same_document(value, "x")
    assert same_document([value, "other"], "[]") is False


def test_map_texts_changes_each_text_and_name():
    value = {"a": ["b", 1, None, True], "c": {"d": "e"}}
    assert map_texts(value, str.upper) == {"A": ["B", 1, None, True], "C": {"D": "E"}}


def test_load_object_refuses_a_document_of_another_kind():
    assert load_object('{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError, match="must be a JSON object"):
        load_object("[1]")
