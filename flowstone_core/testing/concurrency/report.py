"""Report of a run of the concurrency harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SHOWN = 20


@dataclass(frozen=True)
class ConcurrencyReport:
    """Report of what threads did to a sensor or a schedule, and of the problems found.

    Attributes:
        seed: What the threads' choices were made from: the same seed makes the same choices, and
            the machine interleaves them as it likes.
        operations: How often each operation was done.
        errors: How often one was refused, by the operation and the kind of error. A
            refusal because of the state of a thing is not a fault.
        ticks: The ticks that were not quiet, by outcome.
        changes: How often the external source was changed.
        events: How many events there are.
        materializations: How many there are, by state.
        attempts: How often an asset function was called.
        problems: Events or materializations lost, doubled or torn; empty if all is well.
    """

    seed: int
    operations: Mapping[str, int]
    errors: Mapping[str, int]
    ticks: Mapping[str, int]
    changes: int
    events: int
    materializations: Mapping[str, int]
    attempts: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        rows = [
            ("operations", _counts(self.operations)),
            ("refused", _counts(self.errors)),
            ("ticks", _counts(self.ticks)),
            ("world", f"{self.changes} changes"),
            ("events", f"{self.events}"),
            ("made", f"{_counts(self.materializations)} by {self.attempts} calls"),
            ("problems", f"{len(self.problems) or 'none'}"),
            ("seed", f"{self.seed}"),
        ]
        shown = [f"{name:<11} {text}" for name, text in rows]
        shown += [f"  {problem}" for problem in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            shown.append(f"  and {len(self.problems) - _SHOWN} more")
        return "\n".join(shown)

    def assert_sound(self) -> None:
        """Fail if anything is wrong.

        Raises:
            AssertionError: If there are problems; the message lists them and the seed.
        """
        if self.problems:
            raise AssertionError(
                f"{self.problems[0]}\n{self}\nto repeat it: run(seed={self.seed}), a few times if "
                "it takes a certain interleaving"
            )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
