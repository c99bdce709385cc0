"""INI parser: sections and options of ``setup.cfg``, each with its line number.

A text is cut into blocks, one for each section, so that the sections of other tools are never
parsed: they may follow another grammar. `configparser` then reads one block at a time. No text of
the file gets into an error, because any line may hold a secret.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

_COMMENTS = ("#", ";")
# As in other tools' sections of setup.cfg; not "name:value", which may be a reference or a secret.
_COLON = re.compile(r"([A-Za-z][\w-]*)[ \t]*:(?=\s|$)")
_COLON_ALONE = re.compile(r"[A-Za-z][\w-]*[ \t]*:")
_TRAILING_COMMENT = re.compile(r"\s[#;](?:\s|$)")
_QUOTED = re.compile(r"(['\"])[^'\"\n]*\1")


@dataclass(frozen=True)
class Block:
    """A section of the file, not parsed yet.

    Attributes:
        header: The text between the brackets, without blanks around it.
        line: The number of the header's line; 0 for the block before the first header.
        lines: The lines below the header.
        closed: True if the header has its closing bracket.
        rest: True if text other than a comment follows the bracket.
    """

    header: str
    line: int
    lines: tuple[str, ...] = field(repr=False)
    closed: bool = True
    rest: bool = False

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that are neither blank nor a comment, with their numbers in the file."""
        for number, line in enumerate(self.lines, start=self.line + 1):
            stripped = line.strip()
            if stripped and not stripped.startswith(_COMMENTS):
                yield number, line

    def without(self, numbers: Iterable[int]) -> Block:
        """Return the block with the given line numbers emptied."""
        lines = list(self.lines)
        for number in numbers:
            lines[number - self.line - 1] = ""
        return replace(self, lines=tuple(lines))


@dataclass(frozen=True)
class Option:
    """A ``key = value`` or ``key: value`` of a block.

    Attributes:
        key: The key as written.
        value: The value as written: lines joined by newlines, each without the blanks around it.
        line: The number of the key's line.
        below: The lines after the key's own that belong to the value, with their numbers.
        begins_below: True if the key's own line holds no part of the value.
    """

    key: str
    value: str = field(repr=False)
    line: int
    below: tuple[tuple[int, str], ...] = field(repr=False)
    begins_below: bool

    @property
    def continued(self) -> int:
        """The first line that continues a value begun beside its key; 0 if there is none."""
        return 0 if self.begins_below or not self.below else self.below[0][0]

    @property
    def oddities(self) -> Iterator[tuple[str, str]]:
        """Each text that is part of the value and may be meant otherwise, with a remedy."""
        own_line = "" if self.begins_below else self.value.partition("\n")[0]
        if _TRAILING_COMMENT.search(own_line):
            yield "inline comment is part of the value", "write the comment on a separate line"
        if _QUOTED.fullmatch(self.value):
            yield "quotes are part of the value", "remove them"


def cut(text: str) -> list[Block]:
    """Cut a text into its sections; a header is a ``[`` at the very start of a line.

    Returns:
        The blocks in their order; the first holds the lines before any header.
    """
    lines = _lines(text)
    starts = [number for number, line in enumerate(lines, start=1) if line.startswith("[")]
    ends = [*starts, len(lines) + 1]
    blocks = [Block("", 0, tuple(lines[: ends[0] - 1]))]
    for start, end in pairwise(ends):
        header, bracket, rest = lines[start - 1][1:].partition("]")
        own = tuple(lines[start : end - 1])
        follows = rest.strip() and not rest.lstrip().startswith(_COMMENTS)
        blocks.append(Block(header.strip(), start, own, closed=bool(bracket), rest=bool(follows)))
    return blocks


def glued_headers(text: str) -> list[tuple[int, str, str]]:
    """Return what looks like a header at the end of a line, where no section begins.

    Two files that were joined look so if the first does not end with a newline.

    Returns:
        The line's number, the text between the brackets, and the key of the line below.
    """
    lines = _lines(text)
    found = []
    for number, (line, below) in enumerate(pairwise([*lines, ""]), start=1):
        before, bracket, header = line.rstrip().rpartition("[")
        if bracket and before.strip() and header.endswith("]"):
            found.append((number, header[:-1].strip(), re.split("[=:]", below)[0].strip()))
    return found


def has_colon(line: str) -> bool:
    """Return True if a line is perhaps ``name:value``: a setting has a blank after the colon."""
    return _COLON_ALONE.match(line) is not None


def read(block: Block) -> tuple[list[Option], list[int]]:
    """Parse the lines of one block.

    Returns:
        The options in their order, duplicates included, and the numbers of the lines that are
        neither an option nor part of the value above them.
    """
    reader = _Reader()
    wrong: set[int] = set()
    try:
        reader.read_file(reader.feed(block))
    except configparser.ParsingError as error:
        wrong.update(block.line + number - 1 for number, _ in error.errors)
    values = dict(reader.items(_SECTION))
    keys = {number: key for number, key in reader.keys_found.items() if key}
    wrong.update(reader.keys_found.keys() - keys.keys())
    below: dict[int, list[tuple[int, str]]] = {number: [] for number in keys}
    current = None
    for number, line in block.numbered():
        if number in keys:
            current = number
        elif current is not None and number not in wrong:
            below[current].append((number, line.strip()))
    options = [
        Option(
            key,
            values[str(number)].strip(),
            number,
            tuple(below[number]),
            begins_below=values[str(number)].startswith("\n"),
        )
        for number, key in keys.items()
    ]
    return options, sorted(wrong)


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


# A header that no file can contain: a text with a NUL is rejected before it is parsed.
_SECTION = "\0"


class _Reader(configparser.RawConfigParser):
    """Parser of one section, which keys each option by its line number.

    An option therefore cannot hide another with the same name, and each problem has a line.
    """

    SECTCRE = re.compile(r"\[(?P<header>\0)\]")

    def __init__(self) -> None:
        super().__init__(delimiters=("=",), comment_prefixes=_COMMENTS, interpolation=None)
        self.keys_found: dict[int, str] = {}
        self._number = 0

    def feed(self, block: Block) -> Iterator[str]:
        """Yield the lines one by one and track the number of the current line."""
        yield f"[{_SECTION}]"
        for self._number, line in enumerate(block.lines, start=block.line + 1):
            yield _COLON.sub(r"\1 =", line, count=1) if _COLON.match(line) else line

    def optionxform(self, optionstr: str) -> str:
        """Record an option's name and line; called once for each option line."""
        self.keys_found[self._number] = optionstr
        return str(self._number)
