"""Sensors that return rubbish or raise anything: their ticks have failed, and nothing else has.

All the sick sensors of a test are polled by one Flowstone, beside a healthy one.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from datetime import UTC, date, datetime
from math import inf, nan
from pathlib import Path
from typing import TypeAlias, cast

import pytest
from pydantic import SecretStr, field_validator

from flowstone_core import (
    Event,
    Flowstone,
    NotTriggered,
    Pipeline,
    PollFailed,
    Sensor,
    SensorConfig,
    Triggered,
    ValidationError,
)
from flowstone_core.model.json_document import PAYLOAD_LIMIT, STATE_LIMIT
from flowstone_core.model.materialization import MaterializationState
from flowstone_core.model.safe_text import MESSAGE_LIMIT
from flowstone_core.model.tick import TickOutcome

PATIENCE = 300
SECRET = "hunter2-of-the-shop"
FIRST = {"seen": 1}

Deed: TypeAlias = Callable[[object], object]


class Healthy(Sensor[SensorConfig, int]):
    """Finds something new at every poll."""

    def init(self) -> int:
        return 0

    def poll(self, state: int) -> Triggered[int]:
        return Triggered(f"n{state}", state + 1)


class SickConfig(SensorConfig):
    password: SecretStr = SecretStr(SECRET)


class Sick(Sensor[SickConfig, object]):
    """Its first poll is sound; what the others do is its deed."""

    Config = SickConfig
    deed: Deed

    def init(self) -> object:
        return {"seen": 0}

    def poll(self, state: object) -> Triggered[object]:
        if state == {"seen": 0}:
            return Triggered("first", FIRST)
        return cast("Triggered[object]", type(self).deed(state))


def sick(deed: Deed) -> type[Sick]:
    return type("Sick", (Sick,), {"deed": staticmethod(deed)})


class Ward:
    """A Flowstone with sick sensors and a healthy one."""

    def __init__(self, store: str) -> None:
        self._store = store
        self.flow = Flowstone(store="sqlite://")

    def fails(self, deeds: Mapping[str, Deed]) -> dict[str, str]:
        """Poll all of them three times; each deed must harm itself alone.

        Returns:
            What is said of each deed.
        """
        self.admit({name: sick(deed) for name, deed in deeds.items()})
        self.polls(3)
        good, bad = TickOutcome.TRIGGERED, TickOutcome.FAILED
        said = {}
        for name in deeds:
            ticks = self.flow.ticks(source=f"sensor:{name}")
            assert [tick.outcome for tick in ticks] == [bad, bad, good], name
            assert json.loads(self.flow.sensors.state(name) or "") == FIRST, name
            assert self.flow.sensors.get(name).failures == 2, name
            assert self.partitions(name) == ["first"], name
            said[name] = ticks[0].error or ""
        assert self.partitions("well") == ["n0", "n1", "n2"]
        assert self.flow.sensors.get("well").failures == 0
        made = self.flow.materializations.latest(limit=1000)
        assert {item.state for item in made} == {MaterializationState.COMPLETED}
        return said

    def admit(
        self, sensors: Mapping[str, type[Sensor[SickConfig, object]]], **options: object
    ) -> None:
        """Begin with these sensors, from the states that are stored."""
        pipeline = Pipeline("ward")
        pipeline.asset(name="report")(lambda context: None)
        pipeline.sensor("well", Healthy, asset="report")
        for name, sensor_class in sensors.items():
            pipeline.sensor(name, sensor_class, asset="report", **options)  # type: ignore[arg-type]
        self.flow.close()
        self.flow = Flowstone(pipeline, store=self._store)

    def polls(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.flow.run(once=True)

    def partitions(self, sensor: str) -> list[str]:
        events = self.flow.events(source=f"sensor:{sensor}", limit=10_000)
        return [event.partition for event in reversed(events)]


@pytest.fixture
def ward(migrated_file: Path, tmp_path: Path) -> Iterator[Ward]:
    path = tmp_path / "ward.db"
    shutil.copyfile(migrated_file, path)
    ward = Ward(f"sqlite:///{path}")
    yield ward
    ward.flow.close()


def raises(error: BaseException) -> Deed:
    def deed(state: object) -> object:
        raise error

    return deed


# -- what is returned ------------------------------------------------------------------------------


async def coroutine(state: object) -> object:
    return NotTriggered(state)


def generator(state: object) -> Iterator[object]:
    yield NotTriggered(state)


class Pretends:
    """Says of itself that it is an outcome."""

    __class__ = Triggered  # type: ignore[assignment]

    def __getattr__(self, name: str) -> object:
        raise SystemExit(f"no {name}")


def test_P4_invalid_outcome_is_named_with_the_expected_types(ward: Ward) -> None:
    returned: dict[str, tuple[Deed, str]] = {
        "nothing": (lambda state: None, "None"),
        "a_text": (lambda state: "triggered", "a value of type str"),
        "a_flag": (lambda state: True, "a value of type bool"),
        "a_list": (lambda state: [Event("p")], "a value of type list"),
        "an_event": (lambda state: Event("p"), "a value of type Event"),
        "a_class": (lambda state: NotTriggered, "a value of type type"),
        "a_coroutine": (coroutine, "a value of type coroutine"),
        "a_generator": (generator, "a value of type generator"),
    }
    said = ward.fails({name: deed for name, (deed, _) in returned.items()})
    assert said == {
        name: f"poll returned {kind}; it must return Triggered, NotTriggered or PollFailed"
        for name, (_, kind) in returned.items()
    }


def test_P4_imitation_of_an_outcome_is_a_failed_tick(ward: Ward) -> None:
    said = ward.fails(
        {
            "pretends": lambda state: Pretends(),
            "number_of_events": lambda state: Triggered(5, state),  # type: ignore[arg-type]
            "no_partition": lambda state: Triggered([Event(None)], state),  # type: ignore[arg-type]
            "no_key": lambda state: Triggered([Event("p", key=5)], state),  # type: ignore[arg-type]
            "no_asset": lambda state: Triggered([Event("p", asset="elsewhere")], state),
            "a_payload": lambda state: Triggered([Event("p", payload=["x"])], state),  # type: ignore[arg-type]
            "one_of_many": lambda state: Triggered([Event("p"), "x", 5], state),  # type: ignore[list-item]
        }
    )
    assert said["number_of_events"].startswith("cannot encode a value of type int as a partition")
    assert said["no_partition"].startswith("cannot encode a value of type NoneType as a partition")
    assert said["no_key"] == "an event's key must be a string, not a value of type int"
    assert said["no_asset"] == "the event for 'p' is for asset 'elsewhere', which no pipeline has"
    assert (
        said["a_payload"] == "an event's payload must be a JSON mapping, not a value of type list"
    )
    assert said["one_of_many"].startswith("cannot encode a value of type int as a partition")
    assert said["pretends"]


def test_P4_poll_or_init_with_other_arguments_is_a_failed_tick(ward: Ward) -> None:
    def bare(self: object) -> object:
        raise NotImplementedError

    def greedy(self: object, *arguments: object, more: object) -> object:
        raise NotImplementedError

    class Bare(Sick):
        poll = bare  # type: ignore[assignment]

    class Greedy(Sick):
        poll = greedy  # type: ignore[assignment]

    class Begins(Sick):
        init = greedy  # type: ignore[assignment]

    ward.admit({"bare": Bare, "greedy": Greedy, "begins": Begins})
    ward.polls()
    for name in ("bare", "greedy", "begins"):
        (tick,) = ward.flow.ticks(source=f"sensor:{name}")
        assert tick.outcome is TickOutcome.FAILED
        assert "TypeError: " in str(tick.error)
        assert "argument" in str(tick.error)
    assert ward.partitions("well") == ["n0"]


# -- the state -------------------------------------------------------------------------------------


def recursive() -> object:
    whole: dict[str, object] = {}
    whole["itself"] = whole
    return whole


STATES: dict[str, tuple[object, str]] = {
    "set": ({1, 2}, "it is a set"),
    "datetime": (datetime(2025, 1, 1, tzinfo=UTC), "it is a datetime"),
    "date": (date(2025, 1, 1), "it is a date"),
    "bytes": (b"x", "it is a bytes"),
    "tuple": ((1, 2), "it is a tuple"),
    "nan": (nan, "it is NaN or infinite"),
    "infinity": (inf, "it is NaN or infinite"),
    "surrogate": ("\ud800", "it holds a lone surrogate, which UTF-8 cannot write"),
    "large": (2**63, "it is an integer past 64 bits"),
    "integer_key": ({7: "x"}, "its key 7 is not a plain string"),
    "subclass": (UserDict(a=1), "it is a UserDict"),
}


def test_P5_value_outside_json_is_named_with_its_path(ward: Ward) -> None:
    def keep(state: object) -> Deed:
        return lambda _: Triggered("lost", {"feeds": [0, {"last": state}]})

    said = ward.fails({name: keep(state) for name, (state, _) in STATES.items()})
    assert said == {
        name: f"the state['feeds'][1]['last'] is not JSON: {reason}"
        for name, (_, reason) in STATES.items()
    }


def test_P5_recursive_state_is_named(ward: Ward) -> None:
    said = ward.fails({"round": lambda _: NotTriggered(recursive())})
    assert "it refers to itself or is nested more than 100 deep" in said["round"]


def test_P5_state_of_a_failure_is_checked(ward: Ward) -> None:
    said = ward.fails({"failed": lambda _: PollFailed("no route", {1, 2})})
    assert said == {"failed": "the state is not JSON: it is a set"}


def test_P6_oversized_value_is_refused_with_its_size(ward: Ward) -> None:
    large = "y" * PAYLOAD_LIMIT
    said = ward.fails(
        {
            "state": lambda _: NotTriggered("x" * STATE_LIMIT),
            "payload": lambda state: Triggered([Event("p", payload={"x": large})], state),
            "failure": lambda _: PollFailed("x", "y" * STATE_LIMIT),
        }
    )
    much = f"the state has {STATE_LIMIT + 2:,} bytes of JSON; at most {STATE_LIMIT:,} are allowed"
    assert said["state"] == said["failure"] == much
    assert said["payload"].startswith(f"the payload has {PAYLOAD_LIMIT + 8:,} bytes of JSON")


def test_P6_many_events_are_committed_in_parts_without_loss(ward: Ward) -> None:
    def flood(state: object) -> object:
        if state == FIRST:
            return Triggered([Event("p", key=f"k{number}") for number in range(2_500)], "done")
        return NotTriggered(state)

    ward.admit({"flood": sick(flood)}, max_events=100)
    ward.polls(3)
    ticks = ward.flow.ticks(source="sensor:flood")
    assert [tick.events for tick in ticks] == [100] * 25 + [1]
    keys = {event.key for event in ward.flow.events(source="sensor:flood", limit=10_000)}
    assert len(keys) == 2_501
    assert ward.flow.sensors.state("flood") == '"done"'
    assert ward.partitions("well") == ["n0", "n1", "n2"]


def test_P7_state_changed_by_a_raising_poll_is_kept(ward: Ward) -> None:
    def spoil(state: object) -> object:
        cast("dict[str, object]", state).clear()
        raise OSError("after the damage")

    assert ward.fails({"spoils": spoil}) == {"spoils": "OSError: after the damage"}


def test_P8_key_fires_once_in_a_tick_and_once_overall(ward: Ward) -> None:
    def again(state: object) -> object:
        events = [
            Event("p", key="a"),
            Event("p", key="a"),
            Event("q", key="a"),
            Event("p", key="b"),
        ]
        return Triggered(events, FIRST)

    ward.admit({"again": sick(again)})
    ward.polls(4)
    counts = [(tick.events, tick.duplicates) for tick in ward.flow.ticks(source="sensor:again")]
    assert counts == [(0, 4), (0, 4), (2, 2), (1, 0)]
    assert ward.partitions("again") == ["first", "p", "p"]


# -- what is raised --------------------------------------------------------------------------------


class Own(BaseException):
    """Not even an Exception."""


LEAVING: dict[str, tuple[BaseException, str]] = {
    "exits": (SystemExit(3), "SystemExit: 3"),
    "interrupts": (KeyboardInterrupt(), "KeyboardInterrupt"),
    "is_cancelled": (CancelledError(), "CancelledError"),
    "is_cancelled_too": (asyncio.CancelledError("no"), "CancelledError: no"),
    "closes": (GeneratorExit(), "GeneratorExit"),
    "has_its_own": (Own("of its own"), "Own: of its own"),
    "runs_out": (MemoryError(), "MemoryError"),
    "stops": (StopIteration(5), "StopIteration: 5"),
    "groups": (
        BaseExceptionGroup("all", [SystemExit(1)]),
        "BaseExceptionGroup: all (1 sub-exception)",
    ),
}


def test_P9_exception_of_any_kind_is_a_failed_tick(ward: Ward) -> None:
    said = ward.fails({name: raises(error) for name, (error, _) in LEAVING.items()})
    assert said == {name: text for name, (_, text) in LEAVING.items()}


def test_P9_endless_recursion_is_a_failed_tick(ward: Ward) -> None:
    def deeper(state: object) -> object:
        return deeper(state)

    assert ward.fails({"falls": deeper})["falls"].startswith("RecursionError: maximum recursion")


@pytest.mark.parametrize("error", [SystemExit(3), CancelledError(), Own("no"), OSError("no")])
def test_P9_exception_of_a_config_is_a_problem_with_its_place(error: BaseException) -> None:
    class Checks(SensorConfig):
        table: str = ""

        @field_validator("table")
        @classmethod
        def check(cls, table: str) -> str:
            raise error

    pipeline = Pipeline("ward")
    pipeline.asset(name="report")(lambda context: None)
    sensor = type("Checked", (Sick,), {"Config": Checks})
    with pytest.raises(ValidationError, match=f"Config raised {type(error).__name__}"):
        pipeline.sensor("sick", sensor, asset="report", table="rows")


# -- what is said of it ----------------------------------------------------------------------------


class NoTextError(Exception):
    def __str__(self) -> str:
        raise SystemExit("I have no text")


class OwnTextError(Exception):
    def __str__(self) -> str:
        class Odd(str):
            def __getattribute__(self, name: str) -> object:
                raise KeyError(name)

        return Odd(f"its text holds {SECRET}")


def test_P19_text_of_an_exception_is_shown_safely(ward: Ward) -> None:
    shown: dict[str, tuple[object, str]] = {
        "no_text": (NoTextError(), "NoTextError: <its str() raised SystemExit>"),
        "own_text": (OwnTextError(), "OwnTextError: its text holds ***"),
        "secret": (OSError(f"refused: {SECRET}!"), "OSError: refused: ***!"),
        "split": (OSError(f"{SECRET[:4]}\x1b[31m{SECRET[4:]}"), "OSError: ***"),
        "ansi": (OSError("\x1b[2J\x1b]0;x\x07red\x9b1m\rx"), "OSError: red\\x9b1m\\rx"),
        "bidi": (OSError("a\u202eb\ud800"), "OSError: a\\u202eb\\ud800"),
        "long": (
            OSError("x" * 10_000_000),
            f"OSError: {'x' * MESSAGE_LIMIT} [9998000 more characters]",
        ),
    }
    raised = {name: raises(cast("BaseException", error)) for name, (error, _) in shown.items()}
    assert ward.fails(raised) == {name: text for name, (_, text) in shown.items()}


def test_P19_text_of_a_failure_is_shown_safely(ward: Ward) -> None:
    said = ward.fails(
        {
            "secret": lambda state: PollFailed(f"refused: {SECRET}\x1b[0m", state),
            "long": lambda state: PollFailed("x" * 10_000_000, state),
            "no_text": lambda state: PollFailed(NoTextError(), state),
            "no_error": lambda state: PollFailed(None, state),  # type: ignore[arg-type]
        }
    )
    assert said["secret"] == "refused: ***"
    assert said["long"].endswith("x [9998000 more characters]")
    assert said["no_text"] == "NoTextError: <its str() raised SystemExit>"
    assert said["no_error"]


# -- what it can no longer read --------------------------------------------------------------------


def test_P18_state_unreadable_after_an_upgrade_is_kept(
    ward: Ward,
) -> None:
    def upgraded(state: object) -> object:
        return NotTriggered({"rows": cast("dict[str, int]", state)["rows"] + 1})

    def downgraded(state: object) -> object:
        return Triggered(f"after {cast('dict[str, int]', state)['seen']}", state)

    ward.admit({"table": sick(raises(OSError()))})
    ward.polls()
    ward.admit({"table": sick(upgraded)})
    ward.polls(2)
    tick = ward.flow.ticks(source="sensor:table")[0]
    assert (tick.outcome, tick.error) == (TickOutcome.FAILED, "KeyError: 'rows'")
    assert json.loads(ward.flow.sensors.state("table") or "") == FIRST
    ward.admit({"table": sick(downgraded)})
    ward.polls()
    assert ward.partitions("table") == ["first", "after 1"]
