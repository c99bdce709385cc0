"""The limits of CONTRIBUTING: sizes of files, functions and constructors, and the style rule."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = sorted(
    path
    for folder in (ROOT / "flowstone_core", *ROOT.glob("plugins/*/src"))
    for path in folder.rglob("*.py")
    if "migrations" not in path.parts  # a migration is a record, never edited
)
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if path.name != "syntax_error.py")

FILE_LINES = 300
FUNCTION_LINES = 40
CONSTRUCTOR_ARGUMENTS = 8
OPTIONS = {"ConcurrencyHarness"}  # public: ten keyword options of a test, each with a default
TEST_FILE_LINES = 500
TEST_NAME = 70

AnyFunction: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

RIDDLE = re.compile(r"(What|Who|Whoever|That)\b")
SENTENCE = re.compile(rf"(?:^(?:[-*]\s|\d\.\s)?|(?<=[.!?:|]\s)|(?<=\*\*\s)){RIDDLE.pattern}", re.M)
GONE = re.compile(
    r"""
    \bsa(?:y|ys|id|ying)\s(?:whether|what|why)\b
    | \bhear(?:s|d|ing)?\s(?:of|that)\b
    | \bso\s(?:many|much|long|often)\b
    | \b(?<!there\s)(?:is|are|was)\sno\s(?!longer\b|later\b)\w+
    | \bof\s(?:its|their|his)\sown\b
    | \bamounts?\sto\b
    | \bany\smore\b
    | \b(?:somebody|anybody|whoever)\b
    | \bpolled\sno\smore\b
    | \bat\shand\b
    | \bcarr(?:y|ies|ied)\s(?:the\s)?materializations?\b
    | (?<!["`|])(?<!--role\s)\bworkers?\b  # the role of a runner is quoted
    """,
    re.VERBOSE | re.IGNORECASE,
)


def shown(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def too_long_files() -> Iterator[str]:
    for paths, limit in ((PRODUCT + BENCHMARKS, FILE_LINES), (TESTS, TEST_FILE_LINES)):
        for path in paths:
            lines = len(path.read_text("utf-8").splitlines())
            if lines > limit:
                yield f"{path.relative_to(ROOT)}: {lines} lines"


def functions() -> Iterator[tuple[Path, AnyFunction]]:
    for path in PRODUCT:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, AnyFunction):
                yield path, node


def lines_of(function: AnyFunction) -> int:
    """Count the lines of a function from ``def`` to its end, without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


def too_long_functions() -> Iterator[str]:
    for path, node in functions():
        if lines_of(node) > FUNCTION_LINES:
            yield f"{shown(path, node.lineno)}: {node.name} has {lines_of(node)} lines"


def wide_constructors() -> Iterator[str]:
    for path in PRODUCT:
        for owner in ast.walk(tree_of(path)):
            if not isinstance(owner, ast.ClassDef) or owner.name in OPTIONS:
                continue
            for node in owner.body:
                if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                    arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                    if len(arguments) - 1 > CONSTRUCTOR_ARGUMENTS:
                        yield f"{shown(path, node.lineno)}: {owner.name}, {len(arguments) - 1}"


def long_test_names() -> Iterator[str]:
    for path in TESTS:
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, AnyFunction) or not node.name.startswith("test_"):
                continue
            if len(node.name) > TEST_NAME:
                yield f"{shown(path, node.lineno)}: {node.name} ({len(node.name)})"


def riddles() -> Iterator[str]:
    for path in PRODUCT + BENCHMARKS:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Module | ast.ClassDef):
                docstring = ast.get_docstring(node) or ""
                if RIDDLE.match(docstring) or docstring == "...":
                    yield f"{shown(path, getattr(node, 'lineno', 1))}: {docstring.splitlines()[0]}"
    for path in PAGES:
        yield from found_in(path, 1, path.read_text("utf-8"), SENTENCE)


def private_words() -> Iterator[str]:
    for path in PRODUCT + BENCHMARKS:
        for line, text in texts_of(path):
            yield from found_in(path, line, text, GONE)
    for path in PAGES:
        yield from found_in(path, 1, path.read_text("utf-8"), GONE)


def found_in(path: Path, line: int, text: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """Yield each place of a text where a pattern matches; ``line`` is that of its beginning."""
    for found in pattern.finditer(text):
        yield f"{shown(path, line + text.count(chr(10), 0, found.start()))}: {found[0]!r}"


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each string and each comment of a module, with its line."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT, *FSTRING):
            yield token.start[0], token.string


FSTRING = tuple(filter(None, [getattr(tokenize, "FSTRING_MIDDLE", None)]))  # from Python 3.12 on


def test_no_file_exceeds_its_limit() -> None:
    assert list(too_long_files()) == []


def test_no_function_is_too_long() -> None:
    assert list(too_long_functions()) == []


def test_no_constructor_has_too_many_arguments() -> None:
    assert list(wide_constructors()) == []


def test_no_test_name_is_too_long() -> None:
    assert list(long_test_names()) == []


def test_no_docstring_or_sentence_begins_with_a_riddle() -> None:
    assert list(riddles()) == []


def test_no_text_has_a_word_that_is_gone() -> None:
    assert list(private_words()) == []
