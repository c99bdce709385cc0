"""Result: the samples of a benchmark's run, with medians, spreads and ratios; kept as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.framework.benchmark import Sample, Target

RECORDED = Path(__file__).resolve().parents[1] / "results"
"""The recorded runs, from which the page is made."""

LAST = RECORDED.parent / ".last"
"""The last runs; not part of the repository."""


@dataclass(frozen=True)
class Spread:
    """The median of several runs, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass
class Result:
    """A run of a benchmark.

    Attributes:
        benchmark: Its name.
        date: When it began, in UTC.
        commit: The commit of FlowStone.
        rounds: How often each arm ran.
        machine: See `describe_machine`.
        versions: See `describe_versions`.
        samples: By case and arm, one for each round; None where the arm failed.
        missing: By arm, the reason why it did not run, or did not run to its end.
    """

    benchmark: str
    date: str
    commit: str
    rounds: int
    machine: dict[str, str]
    versions: dict[str, str]
    samples: dict[str, dict[str, list[Sample | None]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def values(self, case: str, arm: str, metric: str) -> dict[int, float]:
        """Return the values of an arm by the number of the round; empty if it did not run."""
        samples = self.samples.get(case, {}).get(arm, [])
        return {
            number: sample[metric]
            for number, sample in enumerate(samples)
            if sample is not None and metric in sample
        }

    def spread(self, case: str, arm: str, metric: str) -> Spread | None:
        """Return the median of an arm and its spread; None if it did not run."""
        values = self.values(case, arm, metric)
        return Spread.of(list(values.values())) if values else None

    def ratio(self, case: str, arm: str, against: str, metric: str) -> Spread | None:
        """Return the ratio of two arms, taken within each round; None if one did not run."""
        ours, theirs = self.values(case, arm, metric), self.values(case, against, metric)
        ratios = [value / theirs[number] for number, value in ours.items() if theirs.get(number)]
        return Spread.of(ratios) if ratios else None

    def reached(self, target: Target) -> float | None:
        """Return the value that is compared with a target; None if it was not measured."""
        found = [self._reached_in(case, target) for case in target.cases]
        values = [value for value in found if value is not None and value > 0]
        return statistics.geometric_mean(values) if len(values) == len(found) else None

    def _reached_in(self, case: str, target: Target) -> float | None:
        if target.against is not None:
            ratio = self.ratio(case, target.arm, target.against, target.metric)
            return None if ratio is None else ratio.median
        own = self.spread(case, target.arm, target.metric)
        if target.against_case is None or own is None:
            return None if own is None else own.median
        other = self.spread(target.against_case, target.arm, target.metric)
        return None if other is None else own.median / other.median

    def save(self, folder: Path) -> Path:
        """Write the run to its file in a folder."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.benchmark}.json"
        rounded = json.loads(json.dumps(vars(self)), parse_float=_short)
        path.write_text(json.dumps(rounded, indent=1, ensure_ascii=False) + "\n", "utf-8")
        return path

    @classmethod
    def load(cls, folder: Path, name: str) -> Result | None:
        """Read a run from a folder; None if there is none."""
        path = folder / f"{name}.json"
        return cls(**json.loads(path.read_text("utf-8"))) if path.exists() else None


def met(target: Target, value: float) -> bool:
    """Return True if a value meets a target."""
    return (target.at_least or -math.inf) <= value <= (target.at_most or math.inf)


def _short(text: str) -> float:
    """Read a number with five digits: no run is more exact."""
    return float(f"{float(text):.5g}")
