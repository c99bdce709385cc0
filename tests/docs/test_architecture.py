"""The drawings of docs/architecture.md have an arrow for each import, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "flowstone_core"
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")
FACES = {"__init__"}  # imports all public names, when each is first used

HEADINGS = {"": "The wings", "runtime": "Inside runtime", "config": "Inside config"}


def drawn(heading: str) -> set[tuple[str, str]]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^(\w+) ─+► +(.+)$", section, re.MULTILINE)
    return {(start, end) for start, ends in lines for end in ends.split()}


@cache
def imported(folder: str) -> frozenset[tuple[str, str]]:
    """Return which child of a folder imports which other child of it."""
    package = ".".join(("flowstone_core", *folder.split("/"))).rstrip(".")
    arrows = set()
    for path in modules_of(CORE / folder):
        start = path.relative_to(CORE / folder).parts[0].removesuffix(".py")
        for name in imports_of(path):
            if name.startswith(f"{package}."):
                end = name.removeprefix(f"{package}.").split(".")[0]
                arrows.add((start, end))
    return frozenset((start, end) for start, end in arrows if start != end and start not in FACES)


def modules_of(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.py"):
        if not any("-" in part for part in path.relative_to(CORE).parts):  # the template of plugins
            yield path


def imports_of(path: Path) -> Iterator[str]:
    """Yield the modules that a module imports, at its top or in a function; not for types only."""
    tree = ast.parse(path.read_text("utf-8"))
    typing = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if node in typing:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("folder", "heading"), HEADINGS.items())
def test_drawing_has_an_arrow_for_each_import(folder: str, heading: str) -> None:
    assert sorted(imported(folder) - drawn(heading)) == []


@pytest.mark.parametrize(("folder", "heading"), HEADINGS.items())
def test_drawing_has_no_arrow_without_an_import(folder: str, heading: str) -> None:
    assert sorted(drawn(heading) - imported(folder)) == []


def test_each_wing_has_a_paragraph() -> None:
    section = PAGE.split("\n## The wings\n")[1].split("\n## ")[0]
    wings = {path.parent.name for path in CORE.glob("*/__init__.py")}
    assert set(re.findall(r"^### (\w+)$", section, re.MULTILINE)) == wings | {"errors"}


@pytest.mark.parametrize("folder", ["runtime", "config"])
def test_each_room_is_described(folder: str) -> None:
    section = PAGE.split(f"\n## {HEADINGS[folder]}\n")[1].split("\n## ")[0]
    rooms = {path.stem for path in (CORE / folder).iterdir() if not path.stem.startswith("_")}
    assert rooms <= set(re.findall(r"\*\*(\w+)\*\*", section)) | {"builtin_plugin"}


def test_each_module_that_is_named_exists() -> None:
    named = {path for path in re.findall(r"`(\w+/[\w/]+\.py)`", PAGE) if "tests" not in path}
    assert len(named) > 20
    assert [path for path in sorted(named) if not (CORE / path).exists()] == []
