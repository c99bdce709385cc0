"""Check: a decorator that reports a violation of the contract as a failed test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Protocol, TypeVar

import pytest

from flowstone_core.testing.contract.violation import Violation


class _Contract(Protocol):
    not_applicable: ClassVar[Mapping[str, str]]


C = TypeVar("C", bound=_Contract)


def check(*after: str) -> Callable[[Callable[[C], None]], Callable[[C], None]]:
    """Make a test of a method that raises a `Violation` where the contract is broken.

    One fault often shows in many ways. A check that fails is not counted if one that it builds
    on fails as well: it is skipped, and says which.

    Args:
        after: The names of the checks that it builds on.
    """

    def decorate(judge: Callable[[C], None]) -> Callable[[C], None]:
        @functools.wraps(judge)
        def test(self: C) -> None:
            excuse = self.not_applicable.get(judge.__name__)
            if excuse is not None:
                pytest.skip(f"does not apply: {excuse}")
            found = _found_by(judge, self)
            if found is not None:
                for name, earlier in _before(type(self), after):
                    if name not in self.not_applicable and _fails(earlier, self):
                        pytest.skip(f"it fails because {name} does: correct that first")
                pytest.fail(str(found), pytrace=False)

        vars(test).update(judge=judge, after=after)
        return test

    return decorate


def _found_by(judge: Callable[[C], None], contract: C) -> Violation | None:
    try:
        judge(contract)
    except Violation as found:
        return found
    return None


def _fails(judge: Callable[[C], None], contract: C) -> bool:
    try:
        return _found_by(judge, contract) is not None
    except pytest.skip.Exception:
        return False


def _before(contract: type[C], names: tuple[str, ...]) -> Iterator[tuple[str, Callable[[C], None]]]:
    """Yield the checks that these build on and these themselves, the most basic ones first."""
    for name in names:
        # A test that overrides a check has no `judge` and no prerequisites.
        facts = vars(getattr(contract, name))
        if "judge" in facts:
            yield from _before(contract, facts["after"])
            yield name, facts["judge"]
