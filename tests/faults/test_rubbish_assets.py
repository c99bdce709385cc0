"""Asset functions that return rubbish or raise anything: their attempts fail, and no other's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from flowstone_core import Flowstone, NotTriggered, Pipeline, Sensor, SensorConfig
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState

SECRET = "hunter2-of-the-shop"
ASSETS = f'''
import asyncio
from collections import UserDict
from concurrent.futures import CancelledError
from datetime import date


class Own(BaseException):
    """Not even an Exception, and nothing that can be sent to another process."""

    def __reduce__(self):
        raise TypeError("no")


class NoTextError(Exception):
    def __str__(self):
        raise SystemExit("I have no text")


class Raises(UserDict):
    def keys(self):
        raise SystemExit("no keys today")


def exits(context): raise SystemExit(3)
def interrupts(context): raise KeyboardInterrupt
def is_cancelled(context): raise asyncio.CancelledError("no")
def is_cancelled_too(context): raise CancelledError
def closes(context): raise GeneratorExit
def has_its_own(context): raise Own("of its own")
def runs_out(context): raise MemoryError
def stops(context): raise StopIteration(5)
def falls(context): return falls(context)
def no_text(context): raise NoTextError
def long(context): raise OSError("x" * 10_000_000)
def ansi(context): raise OSError("\\x1b[2J\\x1b]0;x\\x07red\\x9b1m\\rx")
def secret(context): raise OSError("refused: {SECRET}!")
def split(context): raise OSError("{SECRET[:4]}\\x1b[31m{SECRET[4:]}")
def a_text(context): return "done"
def a_list(context): return [1]
def a_flag(context): return True
async def work(): return None
def a_coroutine(context): return work()
def a_generator(context): return (n for n in ())
def a_date(context): return {{"rows": [{{"made": date(2025, 1, 1)}}]}}
def a_set(context): return {{"rows": {{1, 2}}}}
def nan(context): return {{"rows": float("nan")}}
def a_key(context): return {{1: "one"}}
def a_surrogate(context): return {{"a": "\\ud800"}}
def much(context): return {{"rows": "x" * 300_000}}
def raising(context): return Raises(a=1)
def well(context): return {{"made": str(context.partition)}}
'''
SAID = {
    "exits": "SystemExit: 3",
    "interrupts": "KeyboardInterrupt",
    "is_cancelled": "CancelledError: no",
    "is_cancelled_too": "CancelledError",
    "closes": "GeneratorExit",
    "has_its_own": "Own: of its own",
    "runs_out": "MemoryError",
    "stops": "StopIteration: 5",
    "falls": "RecursionError: maximum recursion depth exceeded",
    "no_text": "NoTextError: <its str() raised SystemExit>",
    "long": "x [9998000 more characters]",
    "ansi": "OSError: red\\x9b1m\\rx",
    "secret": "OSError: refused: ***!",
    "split": "OSError: ***",
    "a_text": "the asset function returned a value of type str; it must return None or a small",
    "a_list": "the asset function returned a value of type list",
    "a_flag": "the asset function returned a value of type bool",
    "a_coroutine": "the asset function returned a value of type coroutine",
    "a_generator": "the asset function returned a value of type generator",
    "a_date": "the returned metadata['rows'][0]['made'] is not JSON: it is a date",
    "a_set": "the returned metadata['rows'] is not JSON: it is a set",
    "nan": "the returned metadata['rows'] is not JSON: it is NaN or infinite",
    "a_key": "the returned metadata is not JSON: its key 1 is not a plain string",
    "a_surrogate": "the returned metadata['a'] is not JSON: it holds a lone surrogate",
    "much": "the returned metadata has 300,011 bytes of JSON; at most 262,144 are allowed",
    "raising": "SystemExit: no keys today",
}


class Still(Sensor[SensorConfig, None]):
    """Sees nothing; its secret is one that nothing may show."""

    class Config(SensorConfig):
        password: str

    def init(self) -> None:
        return None

    def poll(self, state: None) -> NotTriggered[None]:
        return NotTriggered(state)


@pytest.fixture
def assets(import_source: Callable[[str, str], ModuleType]) -> ModuleType:
    """The module above, where a process that is started can import it too."""
    return import_source("rubbish", ASSETS)


@pytest.mark.parametrize("run_in", ["thread", "process"])
def test_P4_P5_P9_P19_faulty_asset_function_fails_only_its_attempt(
    assets: ModuleType, migrated_file: Path, tmp_path: Path, run_in: str
) -> None:
    shutil.copyfile(migrated_file, tmp_path / "rubbish.db")
    pipeline = Pipeline("rubbish")
    for name in [*SAID, "well"]:
        pipeline.asset(name=name, max_attempts=1, run_in=run_in)(getattr(assets, name))  # type: ignore[call-overload]
    pipeline.sensor("still", Still, asset="well", password=SECRET)
    with Flowstone(pipeline, store=f"sqlite:///{tmp_path / 'rubbish.db'}") as flow:
        numbers = {name: flow.materialize(name, "eu").id for name in [*SAID, "well"]}
        assert flow.run(once=True)
        made = flow.materializations.get(numbers.pop("well"))
        assert (made.state, made.metadata) == (MaterializationState.COMPLETED, {"made": "eu"})
        for name, number in numbers.items():
            failed = flow.materializations.get(number)
            (attempt,) = flow.materializations.attempts(number)
            assert failed.state is MaterializationState.DISCARDED, name
            assert attempt.outcome is AttemptOutcome.FAILED, name
            assert failed.error == attempt.error, name
            assert SAID[name] in (failed.error or ""), name
            assert failed.metadata is None, name
            assert len(failed.error or "") < 2_100, name
