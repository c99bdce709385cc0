from collections.abc import Sequence
from typing import Annotated

import pydantic
import pytest

from flowstone_core.config.file.section import Section, Setting, Swallowed
from flowstone_core.config.sections.values import conceal, field_values, places, strays, swallowed
from flowstone_core.errors import Problem


class Model(pydantic.BaseModel):
    text: str = ""
    maybe_text: str | None = None
    tuples: tuple[str, ...] = ()
    bare: list = []
    maybe: Annotated[list[int] | None, "x"] = None
    sequence: Sequence[str] = ()
    unique: frozenset[str] = frozenset()
    mapping: dict[str, str] = {}
    aliased: list[str] = pydantic.Field([], alias="items")


def section(**values):
    settings = {key: Setting(value, line) for line, (key, value) in enumerate(values.items(), 2)}
    return Section("flowstone:sensor:a", 1, settings, "f.cfg")


@pytest.mark.parametrize("key", ["tuples", "bare", "maybe", "sequence", "unique", "items"])
def test_a_list_has_one_item_a_line(key):
    assert field_values(section(**{key: "a b\n\n c ,\n"}), Model) == {key: ["a b", "c ,"]}
    assert field_values(section(**{key: ""}), Model) == {key: []}


@pytest.mark.parametrize("key", ["text", "maybe_text", "mapping", "unknown"])
def test_anything_else_is_a_text(key):
    assert field_values(section(**{key: "a\nb"}), Model) == {key: "a\nb"}


def test_what_is_left_out_and_where_the_others_are():
    both = section(text="a", type="b")
    assert field_values(both, Model, leave={"type"}) == {"text": "a"}
    assert places(both) == {"text": "f.cfg:2", "type": "f.cfg:3"}


@pytest.mark.parametrize(
    ("key", "inner", "likely", "found"),
    [
        ("text", "every", True, True),
        ("text", "every", False, False),
        ("tuples", "every", False, True),
        ("text", "unknown", True, False),
    ],
)
def test_swallowed_settings(key, inner, likely, found):
    setting = Setting("x", 2, swallowed=(Swallowed(inner, 4, likely),))
    problems = list(swallowed(Section("flowstone", 1, {key: setting}, "f.cfg"), Model, {"every"}))
    assert len(problems) == found
    for problem in problems:
        assert (problem.where, problem.subject) == ("f.cfg:4", "[flowstone] every")
        assert problem.message == f"indented, this line is part of '{key}' and sets nothing"


def test_what_follows_an_empty_secret_is_not_shown():
    found = dict(strays(section(secret_key="", canary="=", every="1s", other="x"), {"every"}))
    assert list(found) == ["canary"]
    assert "canary" not in str(found["canary"])
    assert found["canary"].where == "f.cfg:3"
    assert not dict(strays(section(secret_key="", every="="), {"every"}))
    assert not dict(strays(section(secret_key="x", canary="="), {"every"}))


SECRET = "c4n4ry-Z9qXv7Kp"


@pytest.mark.parametrize(
    ("message", "concealed"),
    [
        (f"got '{SECRET}'", "got '***'"),
        (f"got 'x/{SECRET}'", "got 'x/***'"),
        ("nothing of it", "nothing of it"),
        (
            f"got '{SECRET[:9]}...'",
            "the value is not valid (hidden: it is secret, or comes from the environment)",
        ),
        (
            f"got {SECRET[3:7]}",
            "the value is not valid (hidden: it is secret, or comes from the environment)",
        ),
    ],
)
def test_conceal(message, concealed):
    setting = Setting(f"x/{SECRET}", 2, "x/***", (SECRET,))
    within = Section("flowstone", 1, {"a": Setting("v", 1), "b": setting}, "f.cfg")
    assert conceal(Problem(message, "f.cfg:2"), within).message == concealed
    assert conceal(Problem(message, "f.cfg:1"), within).message == message
