"""The contract of sensors: a sound sensor passes every check; what an author says of his."""

from __future__ import annotations

import doctest
import itertools
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import Field, field_validator

from flowstone_core import (
    NotTriggered,
    SensorConfig,
    Triggered,
    encode_partition,
)
from flowstone_core.model.json_document import dump_document
from flowstone_core.model.tick import NewEvent
from flowstone_core.testing import SensorContract, contract
from flowstone_core.testing.contract.identity import identifies
from tests.testing import (
    test_contract_cleanup,
    test_contract_failures,
    test_contract_running,
    test_contract_settings,
    test_contract_skips,
    test_contract_state,
)
from tests.testing.rows import (
    CHECKS,
    TOKEN,
    Rows,
    RowsConfig,
    RowsContract,
)
from tests.testing.test_contract_failures import TakesSilenceForNothing
from tests.testing.test_contract_state import KeepsASet

WAIT = timedelta(seconds=30)
BROKEN = (
    test_contract_state.BROKEN
    | test_contract_running.BROKEN
    | test_contract_failures.BROKEN
    | test_contract_settings.BROKEN
    | test_contract_cleanup.BROKEN
    | test_contract_skips.BROKEN
)


class TestRows(RowsContract):
    """A sound sensor, under pytest itself."""


class Patient(Rows):
    """Fires for a row when it has known it for half a minute."""

    def poll(self, state):
        now = self.context.clock.now()
        rows = self.read(state)
        known = state.get("known", {})
        known = {name: known.get(name, now.isoformat()) for _, _, name in rows}
        young = [n for n, since in known.items() if (now - datetime.fromisoformat(since)) < WAIT]
        ripe = list(itertools.takewhile(lambda row: row[2] not in young, rows))
        if not ripe:
            return NotTriggered(state | {"known": known})
        return Triggered([self.event(*row) for row in ripe], self.after(ripe) | {"known": known})


class TestPatient(RowsContract):
    """A sound sensor that fires at the second poll, under pytest itself."""

    sensor_class = Patient
    polls_to_fire = 2


def test_sound_sensor_passes_every_check(judge):
    failed, skipped = judge(Rows)
    assert failed == {}
    assert set(skipped) == ASKED


def test_the_example_runs():
    result = doctest.testmod(contract, report=True)
    assert result.attempted > 0
    assert result.failed == 0


def test_every_check_finds_a_fault():
    assert sorted({check for _, check, _ in BROKEN.values()}) == CHECKS


# -- what an author says, and does not say ---------------------------------------------------------


ASKED = {"test_skipped_items_are_told_once", "test_a_poll_stops_at_its_deadline"}
"""The checks that an author must define or excuse; `RowsContract` excuses both."""


class KeylessConfig(SensorConfig):
    path: Path = Field(description="the file of SQLite")
    timeout: float = Field(0.01, description="seconds to wait for a lock")


class Keyless(Rows):
    """It has no secrets."""

    Config = KeylessConfig


class Reticent(RowsContract):
    """It says no more than it must."""

    sensor_class = Keyless
    break_source = SensorContract.break_source
    hang_source = SensorContract.hang_source
    invalid_settings = SensorContract.invalid_settings

    def make_sensor(self, context):
        return Keyless(KeylessConfig(path=self.path), context)


def test_missing_override_is_skipped_with_a_remedy(judge):
    failed, skipped = judge(Keyless, contract=Reticent)
    assert failed == {}
    assert {name: reason.partition(",")[0] for name, reason in skipped.items()} == {
        "test_an_outside_error_leaves_the_state_alone": "not checked: define break_source",
        "test_connect_fails_where_the_source_does": "not checked: define break_source",
        "test_a_source_that_never_answers_is_given_up": "not checked: define hang_source",
        "test_wrong_settings_are_refused_by_name": "not checked: define invalid_settings",
        "test_secrets_are_never_shown": "not checked: define secrets",
        "test_skipped_items_are_told_once": "does not apply: each row fires",
        "test_a_poll_stops_at_its_deadline": "does not apply: a poll is one query",
    }


def test_not_applicable_check_is_skipped_with_its_reason(judge):
    terms = ("break_source", "hang_source", "invalid_settings", "test_a_change_fires", *ASKED)
    failed, skipped = judge(
        Keyless, contract=Reticent, secrets=(), not_applicable=dict.fromkeys(terms, "it is small")
    )
    assert failed == {}
    assert skipped.pop("test_secrets_are_never_shown") == "does not apply: secrets is empty"
    assert set(skipped.values()) == {"does not apply: it is small"}
    assert len(skipped) == 7


def test_not_applicable_check_excuses_no_other(judge):
    failed, _ = judge(
        KeepsASet, not_applicable={"test_its_state_is_json": "it is a set, and nobody minds"}
    )
    assert "test_a_change_fires" in failed


class OneForAll(RowsContract):
    made = None

    def make_sensor(self, context):
        self.made = self.made or super().make_sensor(context)
        return self.made


def test_unchecked_check_excuses_no_other(judge):
    failed, skipped = judge(TakesSilenceForNothing, break_source=SensorContract.break_source)
    assert list(failed) == ["test_a_source_that_never_answers_is_given_up"]
    rest = {name: reason for name, reason in skipped.items() if name not in ASKED}
    assert len(rest) == 2
    assert all("define break_source" in reason for reason in rest.values())


def test_late_sensor_without_polls_to_fire_fails(judge):
    failed, _ = judge(Patient)
    assert "'row 1' was not found after it was made" in failed["test_a_change_fires"]


def test_make_sensor_returning_one_instance_fails(judge):
    failed, _ = judge(Rows, contract=OneForAll)
    said = failed["test_it_goes_on_after_a_restart"]
    assert "make_sensor returned the instance that it had returned before" in said


class CutConfig(RowsConfig):
    path: Path = Field(description="the file of SQLite, without .db")

    @field_validator("path", mode="before")
    @classmethod
    def complete(cls, path):
        if str(path).endswith(".db"):
            raise ValueError("write it without .db")
        return Path(f"{path}.db")


class Cut(RowsContract):
    def make_sensor(self, context):
        path = str(self.path).removesuffix(".db")
        return self.sensor_class(CutConfig(path=path, token=TOKEN), context)


def test_settings_refused_in_a_pipeline_are_named(judge):
    failed, _ = judge(type("CutRows", (Rows,), {"Config": CutConfig}), contract=Cut)
    said = " ".join(failed["test_a_run_ends_in_materializations"].split())
    assert "the settings that make_sensor uses are refused in a pipeline" in said
    assert "write it without .db" in said


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("row-1", True),
        ("row", True),
        ("row-10", False),
        ("ow-1", False),
        ("17", True),
        ("seven", True),
        (date(2025, 1, 15), True),
        (date(2025, 1, 16), False),
        ("2025-01-15", True),
        ("null", False),
        (("row-1",), False),
    ],
)
def test_event_is_identified_by_partition_or_text(what, found):
    payload = dump_document({"rows": [17, {"seven": None}]}, what="it", limit=1000)
    event = NewEvent(encode_partition("table/row-1"), "any", "d:2025-01-15", payload)
    assert identifies(what, event) is found
