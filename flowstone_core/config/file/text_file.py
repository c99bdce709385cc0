"""Text file: reads UTF-8 text, or raises one clear error for any other bytes."""

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
    """Return the path for messages, with unprintable characters escaped."""
    return printable(str(path), limit=500)


def read_text(path: Path) -> str | None:
    """Read a UTF-8 text without its byte order mark.

    Returns:
        The text, or None if the file does not exist.

    Raises:
        ValidationError: If the file cannot be read or is not UTF-8 text. The message contains no
            byte of the file.
    """
    shown = shown_path(path)
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise ValidationError(Problem("is a directory, not a file", shown)) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ValidationError(Problem(f"cannot read the file: {reason}", shown)) from None
    except ValueError:
        raise ValidationError(Problem("invalid file name", shown)) from None
    if len(data) > SIZE_LIMIT:
        raise ValidationError(Problem(f"file is larger than {SIZE_LIMIT // 1024**2} MB", shown))
    return _decoded(data, shown)


def _decoded(data: bytes, shown: str) -> str:
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            raise ValidationError(Problem(f"file is {encoding}, not UTF-8", shown, hint=_HINT))
    if b"\0" in data:
        where = f"{shown}:{_line_at(data, data.index(0))}"
        raise ValidationError(
            Problem("NUL character: the file is not UTF-8 text", where, hint=_HINT)
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{shown}:{_line_at(data, error.start)}"
        raise ValidationError(Problem("line is not valid UTF-8", where, hint=_HINT)) from None


def _line_at(data: bytes, offset: int) -> int:
    before = data[:offset]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1
