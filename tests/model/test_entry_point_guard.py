"""The guard of entry points, on distributions that a folder on the path holds."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

import pydantic
import pytest

from flowstone_core.model.entry_point_guard import (
    PYDANTIC_SWITCH,
    guard_entry_points,
    guard_pydantic,
    hidden_group,
)

GROUP = "flowstone-guard-test"


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", importlib.metadata.entry_points)
    monkeypatch.setenv(PYDANTIC_SWITCH, os.environ.get(PYDANTIC_SWITCH, ""))
    guard_entry_points()


def install(folder: Path, name: str, points: str, metadata: bytes | None = None) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    if metadata is not None:
        (info / "METADATA").write_bytes(metadata)
    (info / "entry_points.txt").write_text(points)


def names() -> list[str]:
    return sorted(point.name for point in importlib.metadata.entry_points(group=GROUP))


@pytest.mark.parametrize("broken", [True, False])
def test_G3_readable_entry_points_are_returned_beside_broken_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    for folder in ("behind", "first"):
        path = tmp_path / folder
        install(path, "twice", f"[{GROUP}]\n{folder} = a\n", b"Name: Twice\n")
        monkeypatch.syspath_prepend(path)
    install(path, "unnamed", f"[{GROUP}]\nunnamed = a\n", b"Name: \xff")
    install(path, "nameless", f"[{GROUP}]\nnameless = a\n", b"Version: 1\n")
    if broken:
        install(path, "broken", "[x]\nno equals sign\n", b"Name: broken\n")
    assert names() == ["first", "nameless", "unnamed"]


def test_G3_hidden_group_is_empty_while_it_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "one", f"[{GROUP}]\none = a\n", b"Name: one\n")
    monkeypatch.syspath_prepend(tmp_path)
    with hidden_group(GROUP):
        assert names() == []
        assert importlib.metadata.entry_points(group="flowstone")
    assert names() == ["one"]


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(3), UnicodeError()])
def test_G3_plugins_of_pydantic_are_disabled_if_one_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr(pydantic, "TypeAdapter", fails)
    guard_pydantic()
    assert os.environ[PYDANTIC_SWITCH] == "__all__"
    assert "plugins of pydantic disabled" in caplog.text


def test_G3_ctrl_c_while_plugins_of_pydantic_are_loaded_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pydantic, "TypeAdapter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guard_pydantic()
    assert sys.modules["pydantic"] is pydantic


def test_G3_plugins_of_pydantic_stay_on_if_they_load() -> None:
    before = os.environ[PYDANTIC_SWITCH]
    guard_pydantic()
    assert os.environ[PYDANTIC_SWITCH] == before
