"""A folder on ``sys.path``, in which tests install plugins."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from flowstone_core.plugin.entry_points import DISABLE_VARIABLE


class Site:
    """A folder on ``sys.path`` in which distributions are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: set[str] = set()

    def install(self, distribution: str, version: str = "1.0", **plugins: str) -> None:
        """Install a distribution; each plugin is a module of this source.

        Its name without what stands before a double underscore is the name of the entry point.
        """
        lines = []
        for module, source in plugins.items():
            self.module(module, source)
            lines.append(f"{module.rpartition('__')[2]} = {module}")
        self.metadata(distribution, version, "[flowstone]\n" + "\n".join(lines))

    def module(self, name: str, source: str) -> None:
        (self.folder / f"{name}.py").write_text(dedent(source))
        self.modules.add(name)
        importlib.invalidate_caches()

    def metadata(self, distribution: str, version: str, entry_points: str | bytes) -> Path:
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        if isinstance(entry_points, str):
            entry_points = entry_points.encode()
        (info / "entry_points.txt").write_bytes(entry_points)
        return info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.delenv(DISABLE_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    site = Site(tmp_path)
    yield site
    for name in site.modules:
        sys.modules.pop(name, None)
