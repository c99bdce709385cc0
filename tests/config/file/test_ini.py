import configparser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.config.file.ini import cut, read


def options(text):
    return {option.key: option.value for option in read(cut(text)[1])[0]}


def test_cut_keeps_line_numbers():
    first, a, b = cut("x\n[a]\nk = 1\n\n[ b ] # comment\nk = 2")
    assert (first.header, first.line, first.lines) == ("", 0, ("x",))
    assert (a.header, a.line, a.lines) == ("a", 2, ("k = 1", ""))
    assert (b.header, b.line, b.lines) == ("b", 5, ("k = 2",))
    assert b.closed
    assert not b.rest


def test_unclosed_or_continued_header_is_marked():
    _, a, b, c = cut("[a\n[b] k = 1\n[c] ; comment")
    assert (a.header, a.closed) == ("a", False)
    assert (b.closed, b.rest) == (True, True)
    assert (c.closed, c.rest) == (True, False)


def test_each_kind_of_line_end_counts_once():
    assert [block.line for block in cut("a\r\nb\r[c]\n[d]")] == [0, 3, 4]


def test_indented_header_does_not_cut():
    assert len(cut("[a]\nk =\n  [b]\n")) == 2


def test_numbered_skips_comments_and_blanks():
    block = cut("[a]\n# c\n\nk = 1\n  ; c\n  more")[1]
    assert list(block.numbered()) == [(4, "k = 1"), (6, "  more")]


def test_without_keeps_line_numbers():
    block = cut("[a]\none = 1\ntwo = 2\n")[1].without([2])
    assert list(block.numbered()) == [(3, "two = 2")]


def test_options_have_their_lines():
    text = "[a]\none = 1\n\n# c\nsql =\n    SELECT id\n\n    # left out\n     FROM t\nx = y\n  z"
    one, sql, x = read(cut(text)[1])[0]
    assert (one.key, one.value, one.line, one.below) == ("one", "1", 2, ())
    assert (sql.value, sql.line) == ("SELECT id\n\nFROM t", 5)
    assert sql.below == ((6, "SELECT id"), (9, "FROM t"))
    assert sql.begins_below
    assert (x.value, x.below, x.begins_below) == ("y\nz", ((11, "z"),), False)


def test_duplicate_options_are_all_returned():
    found, wrong = read(cut("[a]\nk = 1\nk = 2")[1])
    assert [(option.line, option.value) for option in found] == [(2, "1"), (3, "2")]
    assert wrong == []


def test_C3_invalid_lines_are_numbered_and_others_read():
    found, wrong = read(cut("\n[a]\none = 1\nnothing\n= empty\n[b]").pop(1))
    assert [option.key for option in found] == ["one"]
    assert wrong == [4, 5]


def test_W4_equals_sign_or_colon_with_a_blank_ends_a_key():
    assert options("[a]\nurl = s3://k=v\n") == {"url": "s3://k=v"}
    assert options("[a]\nurl: s3://k=v: w\nb :\n  c: 1\nd = e: f\ng\t:\th\n") == {
        "url": "s3://k=v: w",
        "b": "c: 1",
        "d": "e: f",
        "g": "h",
    }


@pytest.mark.parametrize("line", ["url:s3", "shop.pipeline: x", "https://host", "a b: c", ": x"])
def test_W4_colon_that_may_be_part_of_a_value_ends_no_key(line: str):
    assert read(cut(f"[a]\n{line}\n")[1])[1] == [2]


def test_keys_and_percent_stay_as_written():
    assert options("[a]\nKey = %(x)s %%\n") == {"Key": "%(x)s %%"}


def test_C3_repr_shows_no_text_of_the_file():
    block = cut("[a]\nkey = canary\n  canary")[1]
    assert "canary" not in repr(block) + repr(read(block))


LINE = st.text(alphabet="ab= \t#;%$:\x85\xa0é", max_size=8)


def with_equals_sign(line):
    """Return a line as configparser is to read it: a colon behind a name, before a blank, is =."""
    key, colon, rest = line.partition(":")
    named = key[:1] in {"a", "b"} and set(key.rstrip(" \t")) <= set("abé")
    return f"{key}={rest}" if colon and named and not rest[:1].strip() else line


@given(st.lists(LINE, max_size=8))
def test_read_agrees_with_configparser(lines):
    text = "[s]\n" + "\n".join(lines)
    theirs = "[s]\n" + "\n".join(map(with_equals_sign, lines))
    oracle = configparser.RawConfigParser(delimiters=("=",), strict=False)
    oracle.optionxform = str
    found, wrong = read(cut(text)[1])
    try:
        oracle.read_string(theirs)
    except configparser.ParsingError as error:
        first_wrong = error.errors[:1]
    else:
        first_wrong = []
    assert wrong[:1] == [number for number, _ in first_wrong]
    if not wrong:
        assert {option.key: option.value for option in found} == {
            key: value.strip() for key, value in oracle["s"].items()
        }
    for option in found:
        assert text.split("\n")[option.line - 1].strip().startswith(option.key)
