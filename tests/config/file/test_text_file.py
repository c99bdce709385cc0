import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.config.file.text_file import SIZE_LIMIT, _decoded, read_text
from flowstone_core.errors import ValidationError


def refused(path):
    with pytest.raises(ValidationError) as caught:
        read_text(path)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize("data", [b"", b"text", "\ufeffté\r\n".encode()])
def test_utf8_is_read_with_and_without_a_mark(tmp_path, data):
    path = tmp_path / "f"
    path.write_bytes(data)
    assert read_text(path) == data.decode("utf-8-sig")


def test_missing_file_is_none(tmp_path):
    assert read_text(tmp_path / "nothing") is None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_C1_other_encoding_is_named(tmp_path, encoding):
    path = tmp_path / "f"
    path.write_bytes("[flowstone]\n".encode(encoding))
    problem = refused(path)
    assert problem.message == f"file is {encoding.upper()}, not UTF-8"
    assert problem.where == str(path)
    assert problem.hint == "save it as UTF-8"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_nul_is_refused_with_its_line(tmp_path, encoding):
    path = tmp_path / "f"
    path.write_bytes(b"a\r\nb\rc\n" + "[flowstone]".encode(encoding))
    problem = refused(path)
    assert "NUL" in problem.message
    assert problem.where == f"{path}:4"


def test_C1_latin_1_is_refused_with_its_line_only(tmp_path):
    path = tmp_path / "f"
    path.write_bytes("[flowstone]\nsecret = canaryé\n".encode("latin-1"))
    problem = refused(path)
    assert problem.message == "line is not valid UTF-8"
    assert problem.where == f"{path}:2"
    assert "canary" not in str(problem)


def test_directory_is_refused(tmp_path):
    assert refused(tmp_path).message == "is a directory, not a file"


def test_unreadable_file_is_refused(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "cannot read the file" in refused(loop).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file_is_refused(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"")
    path.chmod(0)
    assert "Permission denied" in refused(path).message


def test_invalid_path_is_refused(tmp_path):
    problem = refused(tmp_path / "a\0b\x1b[31m")
    assert problem.message == "invalid file name"
    assert problem.where.endswith("a\\x00b")


def test_huge_file_is_refused(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b" " * SIZE_LIMIT)
    assert len(read_text(path)) == SIZE_LIMIT
    os.truncate(path, SIZE_LIMIT + 1)
    assert refused(path).message == "file is larger than 16 MB"


@given(st.binary())
def test_C1_any_bytes_are_text_or_one_error(data):
    try:
        text = _decoded(data, "f")
    except ValidationError as error:
        problems = error.problems
    else:
        assert text.encode() == data.removeprefix(b"\xef\xbb\xbf")
        return
    assert len(problems) == 1
