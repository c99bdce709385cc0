from collections.abc import Sequence
from typing import Annotated

import pydantic
import pytest

from flowstone_core.config.file.section import Section, Setting, Swallowed
from flowstone_core.config.sections.section_reader import SectionReader, conceal, refine
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


def read(section, known=frozenset(Model.model_fields), exclude=()):
    return SectionReader(section, Model, known, exclude)


@pytest.mark.parametrize("key", ["tuples", "bare", "maybe", "sequence", "unique", "items"])
def test_list_field_has_one_item_per_line(key):
    assert read(section(**{key: "a b\n\n c ,\n"})).values == {key: ["a b", "c ,"]}
    assert read(section(**{key: ""})).values == {key: []}


@pytest.mark.parametrize("key", ["text", "maybe_text", "mapping", "unknown"])
def test_other_field_is_a_text(key):
    assert read(section(**{key: "a\nb"})).values == {key: "a\nb"}


def test_left_out_key_has_a_place_and_no_value():
    reader = read(section(text="a", type="b"), exclude={"type"})
    assert reader.values == {"text": "a"}
    assert reader.places == {"text": "f.cfg:2", "type": "f.cfg:3"}
    assert reader.problems == []


@pytest.mark.parametrize(
    ("key", "inner", "likely", "found"),
    [
        ("text", "every", True, True),
        ("text", "every", False, False),
        ("tuples", "every", False, True),
        ("text", "unknown", True, False),
    ],
)
def test_indented_setting_is_a_problem(key, inner, likely, found):
    setting = Setting("x", 2, swallowed=(Swallowed(inner, 4, likely),))
    reader = read(Section("flowstone", 1, {key: setting}, "f.cfg"), known={"every"})
    assert len(reader.swallowed) == found
    assert reader.problems == reader.swallowed
    for problem in reader.problems:
        assert (problem.where, problem.subject) == ("f.cfg:4", "[flowstone] every")
        assert problem.message == f"indented line is part of the value of '{key}', not a setting"


def test_unknown_key_below_an_empty_secret_is_not_shown():
    reader = read(section(secret_key="", canary="=", every="1s", other="x"), known={"every"})
    assert list(reader.strays) == ["canary"]
    assert reader.values.keys() == {"secret_key", "every", "other"}
    (problem,) = reader.problems
    assert "canary" not in str(problem)
    assert problem.where == "f.cfg:3"
    assert not read(section(secret_key="", every="="), known={"every"}).strays
    assert not read(section(secret_key="x", canary="="), known={"every"}).strays


SECRET = "c4n4ry-Z9qXv7Kp"


@pytest.mark.parametrize(
    ("message", "concealed"),
    [
        (f"got '{SECRET}'", "got '***'"),
        (f"got 'x/{SECRET}'", "got 'x/***'"),
        ("nothing of it", "nothing of it"),
        (
            f"got '{SECRET[:9]}...'",
            "invalid value (hidden: it is secret, or comes from the environment)",
        ),
        (
            f"got {SECRET[3:7]}",
            "invalid value (hidden: it is secret, or comes from the environment)",
        ),
    ],
)
def test_conceal_hides_each_part_of_a_secret(message, concealed):
    setting = Setting(f"x/{SECRET}", 2, "x/***", (SECRET,))
    within = Section("flowstone", 1, {"a": Setting("v", 1), "b": setting}, "f.cfg")
    problems = [Problem(message, "f.cfg:2"), Problem(message, "f.cfg:1")]
    assert [each.message for each in conceal(problems, within)] == [concealed, message]


def test_W6_problem_of_a_continued_value_points_at_the_indentation():
    settings = {"a": Setting("x\ny", 2, continued=3), "b": Setting("z", 4)}
    within = Section("flowstone", 1, settings, "f.cfg")
    problems = [Problem("m", "f.cfg:2"), Problem("m", "f.cfg:2", hint="h"), Problem("m", "f.cfg:4")]
    pointing = "line 3 is indented, so it continues this value"
    assert [each.hint for each in refine(problems, within)] == [pointing, f"h; {pointing}", ""]


def test_W6_value_that_swallowed_a_setting_is_reported_once():
    settings = {"a": Setting("x\nb = y", 2, swallowed=(Swallowed("b", 3, likely=True),))}
    within = Section("flowstone", 1, settings, "f.cfg")
    value, line = Problem("invalid", "f.cfg:2"), Problem("indented line", "f.cfg:3")
    assert refine([value, line], within) == [line]
    assert refine([value], within) == [value]
