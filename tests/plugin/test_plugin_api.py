"""The public names for engines and watchers: documented, listed, and imported on first use."""

import inspect
import re
from pathlib import Path

import pytest

import flowstone_core
from flowstone_core import errors, plugin_api, testing
from flowstone_core.plugin import hookspecs

PAGE = Path(__file__).resolve().parents[2] / "docs/plugin-api.md"
LISTED = dict(re.findall(r"^\* `(\w+)`: (.+)$", PAGE.read_text("utf-8"), re.MULTILINE))
FACES = [flowstone_core, plugin_api, testing]


def test_page_lists_exactly_the_public_names():
    assert sorted(LISTED) == sorted(plugin_api.__all__)


@pytest.mark.parametrize("name", plugin_api.__all__)
def test_page_says_what_the_docstring_says(name):
    summary = inspect.getdoc(getattr(plugin_api, name)).split("\n\n")[0]
    said = LISTED[name].replace("`", "").casefold()
    assert said == " ".join(summary.split()).replace("`", "").casefold()


@pytest.mark.parametrize(
    ("face", "name"),
    [(face, name) for face in FACES for name in face.__all__],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_public_name_has_a_docstring(face, name):
    value = getattr(face, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert inspect.getdoc(value)


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_face_shows_its_sorted_names_and_no_others(face):
    assert dir(face) == sorted(face.__all__) == list(face.__all__)
    with pytest.raises(AttributeError, match=f"module '{face.__name__}' has no attribute 'Flow'"):
        face.Flow  # noqa: B018 - to look at it is the test


PUBLIC = {*flowstone_core.__all__, *plugin_api.__all__}
ERRORS = [name for name, value in vars(errors).items() if inspect.isclass(value)]


@pytest.mark.parametrize("name", [name for name in ERRORS if not name.startswith("_")])
def test_U5_exception_that_users_catch_is_public(name):
    if vars(errors)[name].__module__ == errors.__name__:
        assert name in PUBLIC


@pytest.mark.parametrize(
    "hook", [value for name, value in vars(hookspecs).items() if name.startswith("flowstone_")]
)
def test_U5_values_that_hooks_are_called_with_are_public(hook):
    annotations = " ".join(map(str, inspect.get_annotations(hook).values()))
    foreign = {"Any", "Mapping", "Command", "None", "Sequence"}
    assert set(re.findall(r"\b[A-Z]\w+", annotations)) - foreign <= PUBLIC
