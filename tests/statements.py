"""Statements: tells of each one that a store has executed, by SQLAlchemy or by SQLite's driver."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

Listener = Callable[[str], object]

_listeners: list[Listener] = []


class Watched(sqlite3.Connection):
    """A connection whose statements are told; SQLAlchemy's go through a cursor instead."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self._told(sql, super().execute(sql, *values))

    def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self._told(sql, super().executemany(sql, *values))

    def _told(self, sql: str, cursor: sqlite3.Cursor) -> sqlite3.Cursor:
        for listener in _listeners:
            listener(sql)
        return cursor


def watch() -> None:
    """Let all stores that this process opens from now on tell of their statements."""

    @event.listens_for(Engine, "do_connect")
    def _connecting(dialect: Any, _: object, __: object, options: dict[str, Any]) -> None:
        if dialect.name == "sqlite":
            options["factory"] = Watched

    @event.listens_for(Engine, "after_cursor_execute")
    def _executed(_: object, __: object, statement: str, *___: object) -> None:
        for listener in _listeners:
            listener(statement)


def tell(listener: Listener) -> None:
    """Call a function with each statement after its execution, for the rest of the process."""
    _listeners.append(listener)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call a function with each statement after its execution."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def refusing(table: str) -> Iterator[None]:
    """Let each statement that writes to a table fail, after its execution."""

    def refuse(statement: str) -> None:
        if statement.startswith(("INSERT", "UPDATE")) and f" flowstone_{table} " in statement:
            raise RuntimeError("the plug is pulled")

    with listening(refuse):
        yield
