"""Entry points: what is installed under FlowStone's name, imported, each with a report.

stevedore finds and imports. It would skip what does not import, let ``sys.exit`` through, and it
forgets which distribution an entry point is from: hence the reports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias

from stevedore.extension import Extension, ExtensionManager

from flowstone_core.errors import PluginError, describe
from flowstone_core.hookspecs import PROJECT

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


Reports: TypeAlias = Mapping[tuple[str, str], PluginReport]
"""Reports by the name and the value of their entry point."""


def installed() -> dict[tuple[str, str], PluginReport]:
    """Begin a report for each entry point, by its name and value.

    stevedore's entry points do not know their distribution, so importlib.metadata is asked.
    """
    reports = {}
    found = [
        (point.dist.name if point.dist else "", point) for point in entry_points(group=PROJECT)
    ]
    for distribution, point in sorted(found, key=lambda item: (item[0], item[1].name)):
        version = point.dist.version if point.dist else ""
        reports[point.name, point.value] = PluginReport(
            point.name, distribution or "an unknown distribution", version or "?"
        )
    return reports


def refuse_shared_names(reports: Iterable[PluginReport]) -> None:
    """Note it where a name is taken twice; nobody can say which one is meant."""
    by_name = defaultdict(list)
    for report in reports:
        if report.status == "ok":
            by_name[report.name].append(report)
    for name, sharing in by_name.items():
        if len(sharing) > 1:
            owners = " and ".join(f"{each.distribution} {each.version}" for each in sharing)
            for report in sharing:
                report.fault(
                    f"the name {name!r} is taken by several plugins, of {owners}",
                    f"uninstall one of them, or disable it by {DISABLE_VARIABLE}",
                )


class Loader(ExtensionManager[object]):
    """Imports what is wanted, and reports all that does not import."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        super().__init__(PROJECT, on_load_failure_callback=self._failed)

    def _load_one_plugin(
        self, ep: EntryPoint, *args: Any, **kwargs: Any
    ) -> Extension[object] | None:
        report = self._reports.get((ep.name, ep.value))
        if report is None or report.status != "ok":
            return None
        try:
            return super()._load_one_plugin(ep, *args, **kwargs)
        except Exception:
            raise
        except BaseException as error:  # stevedore would let sys.exit() end the process
            raise PluginError(f"its import raised {describe(error)}") from error

    def _failed(self, _: object, ep: EntryPoint, error: BaseException) -> None:
        report = self._reports[ep.name, ep.value]
        missing = isinstance(error, ModuleNotFoundError) and error.name
        report.fault(
            f"it cannot be imported: {describe(error)}",
            f"install what provides the module {missing!r}" if missing else None,
        )
