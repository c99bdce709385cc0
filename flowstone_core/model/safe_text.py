"""Safe text: printable, bounded texts of foreign values, errors and tracebacks."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable

from flowstone_core.errors import FlowstoneError

MESSAGE_LIMIT = 2_000


"""Maximum characters of a foreign error's text."""


# Control characters, line separators, marks that change the direction of text, and lone surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def printable(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return any text in a form that is safe for a log line, a terminal and both databases.

    Terminal sequences are removed, control characters and lone surrogates are shown escaped,
    and a text over ``limit`` characters is cut, with a note of the length of the rest.
    """
    cut = len(text) - limit
    if cut > 0:
        text = text[:limit]
    text = _ANSI.sub("", text)
    text = _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)
    return f"{text} [{cut} more characters]" if cut > 0 else text


def one_line(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return a text as `printable` does, with line breaks and tabs escaped."""
    return printable(text, limit).replace("\n", r"\n").replace("\t", r"\t")


def describe(error: BaseException, redact: Callable[[str], str] = str) -> str:
    """Return one safe text for an exception, even if its methods raise.

    ``str()`` of a foreign exception may raise, return megabytes or terminal sequences; none of
    that gets through. The result is ``Kind: message``, or the bare message for FlowStone's own.

    Args:
        error: The exception.
        redact: Hides secrets; applied before the text is cut, so that no half secret remains,
            and after terminal sequences are removed, so none holds a secret apart.
    """
    try:
        text = str.__str__(str(error))  # str() may return a subclass of str, with its own methods
    except BaseException as failure:  # noqa: BLE001 - a foreign __str__ may raise anything
        text = f"<its str() raised {type(failure).__name__}>"
    text = printable(redact(_ANSI.sub("", text)))
    if issubclass(type(error), FlowstoneError):  # isinstance() would ask the object itself too
        return text
    kind = type(error).__qualname__
    return f"{kind}: {text}" if text else kind


def describe_traceback(error: BaseException, frames: int = 20) -> str:
    """Return the stack of an exception without source lines or locals, innermost call last.

    Source lines are left out because they can hold a literal secret.
    """
    summary = traceback.extract_tb(error.__traceback__)[-frames:]
    return "\n".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in summary)
