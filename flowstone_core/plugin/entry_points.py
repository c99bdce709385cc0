"""Entry points: what is installed under FlowStone's name, imported, each with a report.

stevedore imports. Left alone it would list from a cache that knows neither the distribution nor
what was installed again within the last two minutes, let ``sys.exit`` and a failing ``assert`` end
the process, and skip the rest: hence the listing and the reports.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distributions
from typing import Any, Literal, TypeAlias

from stevedore.extension import Extension, ExtensionManager

from flowstone_core.model.safe_text import describe
from flowstone_core.plugin.hookspecs import PROJECT
from flowstone_core.plugin.time_limit import TimeLimit

logger = logging.getLogger("flowstone.plugins")

CORE = "flowstone-core"
"""The distribution whose own plugin is always loaded, and never displaced."""

DISABLE_VARIABLE = "FLOWSTONE_DISABLE_PLUGINS"
"""Environment variable: plugins or distributions, by commas, that are not to be loaded."""


@dataclass(slots=True)
class PluginReport:
    """One entry point: what it provides, or why it does not.

    Attributes:
        name: The entry point's name.
        status: ``ok``; ``broken``, with everything that is wrong in ``error`` (what is sound of
            it is provided all the same); ``blocked``, if it was not to be loaded.
        watches: The watching hooks that it implements.
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
        """Whose it is, for messages."""
        return f"plugin {self.name!r} of {self.distribution} {self.version}"

    def fault(self, error: str, hint: str | None = None) -> None:
        """Note something that is wrong."""
        self.status = "broken"
        self.error = error if self.error is None else f"{self.error}; {error}"
        self.hint = self.hint or hint


Installed: TypeAlias = Sequence[tuple[EntryPoint, PluginReport]]
"""Entry points, each with its report, sorted by distribution and name."""


def normalized(name: str) -> str:
    """Return the one spelling of the name of a distribution or plugin, for comparisons."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def installed() -> Installed:
    """Find the entry points and begin a report for each.

    Of a distribution that is there twice, the first on ``sys.path`` counts, as it does for
    imports; also if that one has no entry points.
    """
    found: list[tuple[EntryPoint, PluginReport]] = []
    seen: set[str] = set()
    for distribution in distributions():
        reports = _reports(distribution)
        if not reports:
            continue
        name = normalized(reports[0][1].distribution)
        if name == _UNKNOWN or (name not in seen and not _hidden(distribution, name)):
            seen.add(name)
            found += reports
    return sorted(found, key=lambda each: (each[1].distribution, each[1].name))


_UNKNOWN = "?"


def _hidden(distribution: Distribution, name: str) -> bool:
    """Say whether there is another copy in front of this one.

    Asked only about those with entry points: to read the names of all would take long.
    """
    try:
        first = Distribution.from_name(name)
    except (PackageNotFoundError, ValueError):  # its folder has another name, or it has none
        return False
    return first.locate_file("") != distribution.locate_file("")


def _reports(distribution: Distribution) -> Installed:
    # Metadata that is not what it should be is met by errors of many kinds, or by None.
    try:
        points: Iterable[EntryPoint] = distribution.entry_points.select(group=PROJECT)
        broken = None
    except Exception as error:  # noqa: BLE001 - reported below
        points, broken = [EntryPoint(_UNKNOWN, "", PROJECT)], error
    return [(point, _report(point, distribution, broken)) for point in points]


def _report(
    point: EntryPoint, distribution: Distribution, broken: Exception | None
) -> PluginReport:
    try:
        name, version = distribution.name or _UNKNOWN, distribution.version or _UNKNOWN
    except Exception:  # noqa: BLE001 - that it has no metadata is no news of its own
        name = version = _UNKNOWN
    report = PluginReport(point.name, name, version)
    if broken is not None:
        report.fault(
            f"its entry_points.txt cannot be read: {describe(broken)}", f"install {name} again"
        )
    return report


def refuse_shared_names(reports: Iterable[PluginReport]) -> None:
    """Note it where a name is taken twice; nobody can say which one is meant.

    The core keeps its own: a plugin cannot take it away.
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
                        f"the name {name!r} is taken by several plugins, of {owners}",
                        f"uninstall one of them, or disable it by {DISABLE_VARIABLE}",
                    )


class Loader(ExtensionManager[object]):
    """Imports those that are to be loaded, and reports all that do not import.

    Args:
        found: Those of which the report is ``ok`` are loaded; no two of them share a name.
        deadline: Each import has this long.

    Raises:
        KeyboardInterrupt: If somebody does not want to wait for an import.
    """

    def __init__(self, found: Installed, deadline: TimeLimit) -> None:
        wanted = [each for each in found if each[1].status == "ok"]
        self._reports = {point.name: report for point, report in wanted}
        self._points = [point for point, _ in wanted]
        self._deadline = deadline
        super().__init__(PROJECT)

    def list_entry_points(self) -> list[EntryPoint]:
        """Return those that are to be loaded."""
        return self._points

    def _load_one_plugin(
        self, ep: EntryPoint, *args: Any, **kwargs: Any
    ) -> Extension[object] | None:
        load = partial(super()._load_one_plugin, ep, *args, **kwargs)
        found = self._deadline.call(partial(_loaded, load))
        if isinstance(found, Extension):
            return found
        report = self._reports[ep.name]
        if found is None:
            # At once: what imports the same module next waits for it too, and cannot say so.
            logger.warning("%s is waited for no longer: its import has not ended", report.owner)
            found = self._deadline.passed, f"if you do not need it: {DISABLE_VARIABLE}={ep.name}"
        error, hint = found
        report.fault(f"it cannot be imported: {error}", hint)
        return None


def _loaded(
    load: Callable[[], Extension[object] | None],
) -> Extension[object] | tuple[str, str | None] | None:
    """Import, or say what went wrong and what to do; stevedore contains but some kinds."""
    try:
        return load()
    except BaseException as error:  # noqa: BLE001 - a module may raise anything, SystemExit too
        missing = isinstance(error, ModuleNotFoundError) and error.name
        hint = f"install what provides the module {missing!r}" if missing else None
        return describe(error), hint
