"""Loader of the entry points in the group ``flowstone``, with a report for each.

stevedore imports them. By default it would list from a cache that lacks the distribution and
whatever was reinstalled within the last two minutes, let ``sys.exit`` and a failing ``assert`` end
the process, and skip other failures: hence the listing and the reports here.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distributions
from pathlib import Path
from typing import Any, Literal, TypeAlias

from stevedore.extension import Extension, ExtensionManager

from flowstone_core.model.safe_text import describe, printable
from flowstone_core.plugin.hookspecs import PROJECT
from flowstone_core.plugin.labels import normalized_name, plugin_label
from flowstone_core.plugin.time_limit import TimeLimit

logger = logging.getLogger("flowstone.plugins")

CORE = "flowstone-core"
"""Distribution of the core: its plugin is always loaded and cannot be replaced."""

DISABLE_VARIABLE = "FLOWSTONE_DISABLE_PLUGINS"
"""Environment variable: plugins or distributions to disable, separated by commas."""


@dataclass(slots=True)
class PluginReport:
    """Report on one entry point: its contributions, or its problems.

    Attributes:
        name: The entry point's name.
        status: ``ok``; ``broken``, with all problems in ``error`` (valid contributions are
            provided nevertheless); ``blocked``, if the plugin is disabled.
        watches: The watching hooks that the plugin implements.
    """

    name: str
    distribution: str
    version: str
    status: Literal["ok", "broken", "blocked"] = "ok"
    error: str | None = None
    hint: str | None = None
    sensors: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    watches: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """Plugin and distribution, for messages."""
        return plugin_label(self.name, self.distribution, self.version)

    def fault(self, error: str, hint: str | None = None) -> None:
        """Add a problem and mark the plugin as broken."""
        self.status = "broken"
        self.error = error if self.error is None else f"{self.error}; {error}"
        self.hint = self.hint or hint


Installed: TypeAlias = Sequence[tuple[EntryPoint, PluginReport]]
"""Entry points, each with its report, sorted by distribution and name."""


def installed() -> Installed:
    """Return all entry points, each with a new report.

    Of two copies of a distribution the first on ``sys.path`` counts, as for imports; also if it
    has no entry points.
    """
    found: list[tuple[EntryPoint, PluginReport]] = []
    seen: set[str] = set()
    for distribution in distributions():
        reports = _reports(distribution)
        if not reports:
            continue
        name = normalized_name(reports[0][1].distribution)
        if name == _UNKNOWN or (name not in seen and not _hidden(distribution, name)):
            seen.add(name)
            found += reports
    return sorted(found, key=lambda each: (each[1].distribution, each[1].name))


_UNKNOWN = "?"


def _hidden(distribution: Distribution, name: str) -> bool:
    """Return True if another copy of the distribution comes earlier on ``sys.path``.

    Called only for distributions with entry points: reading the names of all takes long.
    """
    try:
        first = Distribution.from_name(name)
    except (PackageNotFoundError, ValueError):  # its folder has another name, or it has none
        return False
    return first.locate_file("") != distribution.locate_file("")


def _reports(distribution: Distribution) -> Installed:
    # Invalid metadata causes exceptions of many kinds, or None.
    try:
        points: Iterable[EntryPoint] = distribution.entry_points.select(group=PROJECT)
        broken = None
        if not points:
            _refuse_unreadable(distribution)
            _refuse_damaged(distribution)
    except Exception as error:  # noqa: BLE001 - reported below
        points, broken = [EntryPoint(_UNKNOWN, "", PROJECT)], error
    return [(point, _report(point, distribution, broken)) for point in points]


def _refuse_unreadable(distribution: Distribution) -> None:
    """Raise if there is an ``entry_points.txt`` that importlib.metadata takes for missing.

    Raises:
        OSError: If it is a directory, or may not be read.
    """
    folder = getattr(distribution, "_path", None)  # the one way to the folder of the metadata
    if isinstance(folder, Path) and distribution.read_text("entry_points.txt") is None:
        path = folder / "entry_points.txt"
        if path.is_symlink() or path.exists():
            path.read_bytes()


def _refuse_damaged(distribution: Distribution) -> None:
    """Raise if an ``entry_points.txt`` holds lines that importlib.metadata skips in silence.

    Raises:
        DamagedFileError: If it begins with a byte order mark, or holds NUL bytes, an unclosed
            section or lines before the first section.
    """
    text = distribution.read_text("entry_points.txt") or ""
    if text.startswith("\ufeff"):
        raise DamagedFileError("it begins with a byte order mark")
    if "\0" in text:
        raise DamagedFileError("it holds NUL bytes")
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] not in "#;"]
    for line in lines:
        if line.startswith("[") and not line.endswith("]"):
            raise DamagedFileError(f"its section {printable(line, 40)!r} is not closed")
    if lines and not lines[0].startswith("["):
        raise DamagedFileError("its first line is not a section such as '[flowstone]'")


class DamagedFileError(ValueError):
    """An ``entry_points.txt`` that importlib.metadata reads without an error, and in part."""


def _report(
    point: EntryPoint, distribution: Distribution, broken: Exception | None
) -> PluginReport:
    name, version = _named(distribution)
    report = PluginReport(point.name, name, version)
    if broken is not None:
        report.fault(f"its entry_points.txt cannot be read: {_reason(broken)}", _reinstall(name))
    elif EntryPoint.pattern.match(point.value) is None:
        report.fault(f"cannot be imported: invalid reference {point.value!r:.80}", _reinstall(name))
    return report


def _named(distribution: Distribution) -> tuple[str, str]:
    """Return name and version; those of the folder if METADATA is missing or unreadable."""
    try:
        name, version = distribution.name, distribution.version
    except Exception:  # noqa: BLE001 - of many kinds
        name = version = ""
    folder = getattr(distribution, "_path", None)
    if not name and isinstance(folder, Path):
        name, _, version = folder.stem.partition("-")
    return name or _UNKNOWN, version or _UNKNOWN


def _reason(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return "it is not UTF-8 text"
        case DamagedFileError():
            return str(error)
        case OSError():
            return (error.strerror or type(error).__name__).lower()
        case TypeError():  # importlib.metadata splits each line at its '='
            return "a line of it is not 'name = module'"
    return describe(error)


def _reinstall(name: str) -> str | None:
    return None if name == _UNKNOWN else f"install {name} again"


def refuse_shared_names(reports: Iterable[PluginReport]) -> None:
    """Mark plugins that share a name as broken: the reference would be ambiguous.

    The core keeps its names.
    """
    by_name = defaultdict(list)
    for report in reports:
        if report.status == "ok":
            by_name[report.name].append(report)
    for name, sharing in by_name.items():
        if len(sharing) > 1:
            owners = " and ".join(f"{each.distribution} {each.version}" for each in sharing)
            for report in sharing:
                if report.distribution != CORE:
                    report.fault(
                        f"duplicate plugin name {name!r}: provided by {owners}",
                        f"uninstall one of them, or disable it with {DISABLE_VARIABLE}",
                    )


class Loader(ExtensionManager[object]):
    """Loader: imports the entry points with status ``ok``, and reports each failure.

    Args:
        found: The entry points; those with status ``ok`` have distinct names.
        limit: Time limit of each import.

    Raises:
        KeyboardInterrupt: If Ctrl-C ends the wait for an import.
    """

    def __init__(self, found: Installed, limit: TimeLimit) -> None:
        wanted = [each for each in found if each[1].status == "ok"]
        self._reports = {point.name: report for point, report in wanted}
        self._points = [point for point, _ in wanted]
        self._limit = limit
        super().__init__(PROJECT)

    def list_entry_points(self) -> list[EntryPoint]:
        """Return the entry points to load."""
        return self._points

    def _load_one_plugin(
        self, ep: EntryPoint, *args: Any, **kwargs: Any
    ) -> Extension[object] | None:
        load = partial(super()._load_one_plugin, ep, *args, **kwargs)
        found = self._limit.call(partial(_loaded, load))
        if isinstance(found, Extension):
            return found
        report = self._reports[ep.name]
        if found is None:
            # At once: the next import of the same module waits for it too, without a message.
            logger.warning("%s: import timed out; starting without the plugin", report.owner)
            found = self._limit.passed, f"to start without it: {DISABLE_VARIABLE}={ep.name}"
        error, hint = found
        report.fault(f"cannot be imported: {error}", hint)
        return None


def _loaded(
    load: Callable[[], Extension[object] | None],
) -> Extension[object] | tuple[str, str | None] | None:
    """Import the plugin, or return error and hint; stevedore contains some exceptions only."""
    try:
        return load()
    except BaseException as error:  # noqa: BLE001 - a module may raise anything, SystemExit too
        missing = isinstance(error, ModuleNotFoundError) and error.name
        hint = f"install what provides the module {missing!r}" if missing else None
        return describe(error), hint
