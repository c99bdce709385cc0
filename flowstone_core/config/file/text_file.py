"""A file as UTF-8 text, or one clear error; whatever its bytes are."""

from __future__ import annotations

import codecs
from pathlib import Path

from flowstone_core.errors import Problem, ValidationError
from flowstone_core.model.safe_text import printable

SIZE_LIMIT = 16 * 1024 * 1024
"""The most bytes a file may have."""

_HINT = "save it as UTF-8"
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def shown_path(path: Path) -> str:
    """Return the path as it may be shown, whatever characters it has."""
    return printable(str(path), limit=500)


def read_text(path: Path) -> str | None:
    """Read a UTF-8 text; a byte order mark at its beginning is left out.

    Returns:
        The text, or None if there is no such file.

    Raises:
        ValidationError: If it is there and no such text, or cannot be read. No byte of it is shown.
    """
    shown = shown_path(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise ValidationError(Problem("this is a directory, not a file", shown)) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValidationError(Problem(f"the file cannot be read: {reason}", shown)) from None
    except ValueError:
        raise ValidationError(Problem("this is no name of a file", shown)) from None
    if len(data) > SIZE_LIMIT:
        raise ValidationError(Problem(f"the file is larger than {SIZE_LIMIT // 1024**2} MB", shown))
    return _decoded(data, shown)


def _decoded(data: bytes, shown: str) -> str:
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise ValidationError(Problem(f"the file is {encoding}, not UTF-8", shown, hint=_HINT))
    if b"\0" in data:
        where = f"{shown}:{_line_at(data, data.index(0))}"
        raise ValidationError(
            Problem("there is a NUL character: this is no UTF-8 text", where, hint=_HINT)
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{shown}:{_line_at(data, error.start)}"
        raise ValidationError(Problem("this line is not UTF-8", where, hint=_HINT)) from None


def _line_at(data: bytes, offset: int) -> int:
    before = data[:offset]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
