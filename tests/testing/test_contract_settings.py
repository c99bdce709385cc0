"""Sensors that accept wrong settings or show secrets: a check finds each."""

from __future__ import annotations

import functools
import sqlite3

import pytest
from pydantic import Field, SecretStr

from flowstone_core import (
    Event,
)
from tests.testing.rows import (
    Broken,
    Rows,
    RowsConfig,
    assert_fault_found,
    noting,
)

BROKEN: Broken = {}
fails = functools.partial(noting, BROKEN)


class LaxConfig(RowsConfig, extra="ignore"):
    """It takes whatever comes."""


@fails("test_an_unknown_setting_is_refused", "'pathh', which there is not, was accepted")
class TakesAnySetting(Rows):
    Config = LaxConfig


class BareConfig(RowsConfig):
    table: str = "row"


@fails("test_every_setting_is_described", "settings without a description: table")
class DescribesNothing(Rows):
    Config = BareConfig


class BoldConfig(RowsConfig):
    timeout: float = Field(0.01, description="seconds to wait for a lock")


@fails("test_wrong_settings_are_refused_by_name", "It was accepted")
class TakesWrongSettings(Rows):
    Config = BoldConfig


class VagueConfig(RowsConfig):
    timeout: float = Field(0.01, description="seconds to wait for a lock")

    def model_post_init(self, context):
        if self.timeout <= 0:
            raise ValueError("this will not do")


@fails("test_wrong_settings_are_refused_by_name", "It was refused, without it")
class DoesNotSayWhatIsWrong(Rows):
    Config = VagueConfig


class OpenConfig(RowsConfig):
    token: str = Field(description="what opens it", repr=True)


@fails("test_secrets_are_never_shown", "repr() of its config shows")
class ShowsItsSettings(Rows):
    Config = OpenConfig


@fails("test_secrets_are_never_shown", "an error shows")
class TellsInAnError(Rows):
    def query(self, statement, *values):
        try:
            return super().query(statement, *values)
        except sqlite3.Error as error:
            token = self.config.token.get_secret_value()
            raise ConnectionError(f"rows://any:{token}@host: {error}") from None


@fails("test_secrets_are_never_shown", "an error, ValueError, shows")
class TellsInACause(Rows):
    def query(self, statement, *values):
        try:
            return super().query(statement, *values)
        except sqlite3.Error as error:
            cause = ValueError(f"token=open%2C%20s3same%21: {error}")
            raise ConnectionError("it failed") from cause


@fails("test_secrets_are_never_shown", "a log line shows")
class TellsInALogLine(Rows):
    def query(self, statement, *values):
        self.context.logger.debug("asked by %s", self.config.token.get_secret_value())
        return super().query(statement, *values)


@fails("test_secrets_are_never_shown", "the state shows")
class TellsInItsState(Rows):
    def init(self):
        return super().init() | {"token": self.config.token.get_secret_value()}

    def after(self, rows):
        return self.init() | super().after(rows)


@fails("test_secrets_are_never_shown", "an event's payload shows")
class TellsInAPayload(Rows):
    def event(self, number, at, name):
        return Event(name, payload={"by": self.config.token.get_secret_value()})


class NamedOpenlyConfig(RowsConfig):
    token: SecretStr | None = Field(None, description="what opens it")
    word: str = Field("Swordfish", description="what opens it too")


@fails("test_secrets_are_never_shown", "the secret Sw... is in no setting", secrets=["Swordfish"])
class HasASecretThatNobodyKnows(Rows):
    Config = NamedOpenlyConfig


@pytest.mark.parametrize("name", BROKEN)
def test_broken_sensor_fails_the_check_of_its_fault(judge, name):
    assert_fault_found(judge, *BROKEN[name])
