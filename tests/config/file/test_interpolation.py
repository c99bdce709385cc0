import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.config.file.interpolation import expand


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("100%", "100%"),
        ("100%%", "100%"),
        ("%%%%", "%%"),
        ("%(name)s", "%(name)s"),
        ("$$", "$"),
        ("$${HOME}", "${HOME}"),
        ("$HOME", "$HOME"),
        ("${BUCKET}", "shop"),
        ("s3://${BUCKET}/${BUCKET}", "s3://shop/shop"),
        ("${MISSING:-other}", "other"),
        ("${MISSING:-}", ""),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${BUCKET:-other}", "shop"),
        ("${MISSING:-50%%}", "50%"),
        ("${year}-${month}", "${year}-${month}"),
        ("${event.key}", "${event.key}"),
        ("${_PRIVATE}", "p"),
    ],
)
def test_expand_follows_the_grammar(text, value):
    expansion = expand(text, {"BUCKET": "shop", "EMPTY": "", "_PRIVATE": "p"})
    assert expansion.value == value
    assert expansion.unset == ()
    assert not expansion.malformed


def test_value_of_the_environment_is_not_expanded_again():
    environ = {"A": "${B} %% $$ ${MISSING}", "B": "secret"}
    assert expand("${A}", environ).value == environ["A"]
    assert expand("$${A}", environ).value == "${A}"
    assert expand("${MISSING:-$}{B}", environ).value == "${B}"


def test_unset_variables_are_named_once_and_in_order():
    expansion = expand("${B}${A}${B}${C:-x}", {})
    assert expansion.unset == ("B", "A")
    assert expansion.value == "${B}${A}${B}x"


@pytest.mark.parametrize("text", ["${HOME", "${HOME-x}", "${HOME:x}", "${Home}", "${A B}"])
def test_invalid_variable_is_malformed(text):
    expansion = expand(text, {"HOME": "there"})
    assert expansion.malformed
    assert expansion.value == text


@pytest.mark.parametrize(
    ("text", "lone"), [("%", True), ("%%", False), ("%%%", True), ("a%b%%", True), ("", False)]
)
def test_lone_percent_is_reported(text, lone):
    assert expand(text, {}).lone_percent is lone


def test_shown_text_has_no_value_of_the_environment():
    expansion = expand("a/${ONE}/${TWO:-x}/${EMPTY}/${MISSING:-d}", {"ONE": "1", "EMPTY": ""})
    assert expansion.shown == "a/***/x//d"
    assert expansion.value == "a/1/x//d"
    assert expansion.taken == {"ONE": "1", "EMPTY": ""}
    assert "canary" not in repr(expand("${X}", {"X": "canary"}))


@given(st.text(alphabet=set(string.printable) - {"%", "$"}))
def test_text_without_signs_is_unchanged(text):
    assert expand(text, {}).value == text


@given(st.text(alphabet="ab%${}:-A_", max_size=12), st.text(max_size=6))
def test_escaped_text_expands_to_itself(text, found):
    escaped = text.replace("%", "%%").replace("$", "$$")
    assert expand(escaped, {"A": found}).value == text
