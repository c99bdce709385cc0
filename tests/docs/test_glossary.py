"""The glossary has every table, command, public name, and no name that does not exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from flowstone_core.cli import main
from flowstone_core.plugin import hookspecs
from flowstone_core.store import schema

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = ("flowstone_core", "flowstone_core.plugin_api", "flowstone_core.testing")


def rows() -> Iterator[tuple[str, str, str]]:
    """Yield word, meaning and names of each row of the glossary."""
    source = (ROOT / "docs/how-it-works.md").read_text("utf-8")
    section = source.split("\n## Glossary\n")[1].split("\n## ")[0]
    for row in re.findall(r"^\| (.+?) \| (.+) \| ?(.*?) ?\|$", section, re.MULTILINE):
        if row[0] not in ("word", "---"):
            yield row


def names() -> set[str]:
    return {name for *_, last in rows() for name in re.findall(r"`([^`]+)`", last)}


def tables() -> set[str]:
    return {*schema.metadata.tables, schema.VERSION_TABLE}


def public() -> set[str]:
    return {name for module in PUBLIC for name in import_module(module).__all__}


def classes() -> set[str]:
    """Return the names of all classes of the core, private ones left out."""
    return {
        node.name
        for path in (ROOT / "flowstone_core").rglob("*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }


def is_command(words: list[str]) -> bool:
    command: click.Command | None = main
    for word in words:
        command = command.commands.get(word) if isinstance(command, click.Group) else None
    return command is not None


@pytest.mark.parametrize("table", sorted(tables()))
def test_glossary_has_each_table(table: str) -> None:
    assert table in names()


@pytest.mark.parametrize("command", sorted(main.commands))
def test_glossary_has_each_command_group(command: str) -> None:
    assert f"flowstone {command}" in names()


@pytest.mark.parametrize("name", sorted(public()))
def test_glossary_has_each_public_name(name: str) -> None:
    assert name in names()


def test_glossary_has_only_names_that_exist() -> None:
    known = tables() | public() | classes() | set(vars(hookspecs))
    unknown = [
        name
        for name in sorted(names())
        if name not in known
        and not (name.startswith("flowstone ") and is_command(name.split()[1:]))
    ]
    assert unknown == []


def test_glossary_has_each_word_once() -> None:
    words = [word for row in rows() for word in row[0].split(", ")]
    assert sorted(set(words)) == sorted(words)


@pytest.mark.parametrize(
    "word",
    [
        "assignment", "attempt", "back-off", "backfill", "baseline", "catch-up", "checkpoint",
        "claim", "coalescing", "deadline", "dispatcher", "engine", "event", "fencing token",
        "heartbeat", "jitter", "lease", "materialization", "overlap", "partition", "publisher",
        "quarantine", "reconciler", "runner", "schedule", "sensor", "staleness", "store",
        "ticker", "trigger", "wing",
    ],
)  # fmt: skip
def test_glossary_has_each_word_of_the_wings(word: str) -> None:
    assert word in {row[0] for row in rows()}


def test_no_word_is_worker() -> None:
    # One role has it for a name.
    told = [" ".join(row).replace("`workers`", "").lower() for row in rows()]
    assert not [text for text in told if "worker" in text]
