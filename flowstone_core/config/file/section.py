"""Sections and settings of a configuration file, and the names a section may have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from flowstone_core.model.safe_text import printable

KINDS = ("sensor", "schedule")
"""The kinds of sections that have a name."""

ALLOWED = (
    "FlowStone's sections are [flowstone], [flowstone:sensor:NAME] and [flowstone:schedule:NAME]"
)

INVALID_LINE = "invalid line: neither 'key = value' nor indented (not shown: it may hold a secret)"
"""Message for a line that is neither a setting nor a part of one."""

INVALID_NAME = (
    "invalid setting name (not shown: it may be a secret)",
    "use small letters, digits and '_', followed by '='",
)
"""Message and hint for a name that no setting has."""
COLON = "write '=' or ': ' after the name of a setting"
"""Hint for a line with a colon that ends no name."""

# Words as people write names, "Time-Zone", "EVERY" and "pollThreads", but hardly a secret.
_WORD = r"(?:[A-Z]+|[A-Z]?[a-z]+(?:[A-Z][a-z]+)*)"
_WORDS = re.compile(rf"{_WORD}(?:[-_ ]{_WORD})*")
_SEPARATOR = re.compile(r"[:.\s]+")


@dataclass(frozen=True)
class Swallowed:
    """Indented line that would be a separate setting without the indentation.

    Attributes:
        key: The key of that setting.
        line: The line's number.
        likely: True if the line is probably not part of a multi-line value: the value begins on
            its key's own line, or with this line.
    """

    key: str
    line: int
    likely: bool


@dataclass(frozen=True)
class Setting:
    """One setting as the user wrote it.

    Attributes:
        value: The text, expanded.
        line: The number of its line.
        shown: The text safe to show, with ``***`` for secrets and values of the environment.
        secrets: The texts that no message may contain: the value of a key that looks secret,
            passwords in URLs, and values of the environment.
        swallowed: Lines of the value that look like separate settings.
        continued: The number of the first line below the key's that continues a value begun beside
            the key; 0 if there is none.
        written: The key as written, if that is not a valid name but its key in small letters is.
        oddities: Texts that are part of the value and may be meant otherwise, each with a remedy.
    """

    value: str = field(repr=False)
    line: int
    shown: str = field(default="***", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    swallowed: tuple[Swallowed, ...] = ()
    continued: int = 0
    oddities: tuple[tuple[str, str], ...] = ()
    written: str = field(default="", repr=False)

    @property
    def secret(self) -> bool:
        """True if any part of the value is a secret."""
        return bool(self.secrets)


@dataclass(frozen=True)
class Section:
    """One section and its settings.

    Attributes:
        name: The text between the brackets.
        line: The number of the header's line.
        settings: The settings by key, in the order of the file.
        file: The path of the file as messages show it.
    """

    name: str
    line: int
    settings: Mapping[str, Setting] = field(default_factory=dict)
    file: str = "flowstone.cfg"

    @property
    def title(self) -> str:
        """The name in brackets, safe to show."""
        return title(self.name)

    def where(self, key: str | None = None) -> str:
        """Return ``file:line`` of a setting, or of the header for an unknown setting."""
        setting = self.settings.get(key) if key is not None else None
        return f"{self.file}:{self.line if setting is None else setting.line}"


def title(header: str) -> str:
    """Return a section's header in brackets, with unprintable characters escaped."""
    return f"[{printable(header, limit=120)}]"


def without_value(header: str) -> str:
    """Cut a header at an ``=``: if a line end is missing, the value of a setting follows."""
    name, equals, _ = header.partition("=")
    return f"{name}..." if equals else name


def plain_key(written: str) -> str:
    """Return a key of words in other letters as FlowStone's settings have it, or unchanged."""
    return re.sub(r"[-\s]", "_", written.lower()) if _WORDS.fullmatch(written) else written


def meant_key(key: str, known: Iterable[str]) -> str | None:
    """Return the known key that differs from a key in underscores at most, or None."""
    return next((each for each in known if _folded(each) == _folded(key)), None)


def _folded(key: str) -> str:
    return key.replace("_", "")


def split_name(header: str) -> tuple[str, ...]:
    """Split a header at its first two colons, without the blanks around them."""
    return tuple(part.strip() for part in header.split(":", maxsplit=2))


def is_known(name: tuple[str, ...]) -> bool:
    """Return True if a split name is a section of FlowStone."""
    return name == ("flowstone",) or (
        len(name) == 3 and name[0] == "flowstone" and name[1] in KINDS
    )


def is_near(header: str) -> bool:
    """Return True if a header is probably a misspelt section of FlowStone."""
    return _resembles(_words(header)[0], "flowstone")


def nearest(header: str) -> str:
    """Return a hint for a misspelt header: the probable section, and the allowed ones."""
    _, *rest = _words(header)
    if not rest:
        return f"did you mean [flowstone]? {ALLOWED}"
    for kind in KINDS:
        if _resembles(rest[0].lower(), kind):
            name = ":".join(rest[1:]) or "NAME"
            return f"did you mean {title(f'flowstone:{kind}:{name}')}? {ALLOWED}"
    return ALLOWED


def _words(header: str) -> list[str]:
    words = [word for word in _SEPARATOR.split(header) if word] or [""]
    return words[1:] if words[0].lower() == "tool" and len(words) > 1 else words


def _resembles(word: str, meant: str) -> bool:
    word = word.lower()
    likeness = SequenceMatcher(None, word[: 2 * len(meant)], meant).ratio()
    return word.startswith(meant) or likeness >= 0.8
