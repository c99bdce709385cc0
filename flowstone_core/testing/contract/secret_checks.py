"""The check that secrets stay secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, unquote_plus

import pytest

from flowstone_core.config.settings_reference import given_settings as shown_settings
from flowstone_core.model.partition import decode_partition
from flowstone_core.model.redaction import MASK, Redactor
from flowstone_core.model.sensor import AnySensor
from flowstone_core.testing.contract.check import check
from flowstone_core.testing.contract.driver import NAME, Driver, PollRecord
from flowstone_core.testing.contract.overrides import ContractOverrides
from flowstone_core.testing.contract.sandbox import declared, refusal
from flowstone_core.testing.contract.violation import Violation

Said = Iterator[tuple[str, str]]


class SecretChecks(ContractOverrides):
    """Checks that no text of a sensor holds a secret of its settings."""

    @check()
    def test_secrets_are_never_shown(self) -> None:
        """No repr, listing, error, log line, state or event contains a secret in any form."""
        driver = self._driver(drained=False)
        secrets = self._secrets(driver.sensor)
        if self.secrets is not None and not secrets:
            pytest.skip("does not apply: secrets is empty")
        if not secrets:
            self._lacking("secrets", "or have make_sensor use settings that are secret")
        with _logged(type(driver.sensor)) as lines:
            said = [*_about(driver.sensor), *self._polls(driver)]
        said += [("a log line", line) for line in lines]
        for where, text in said:
            for secret in secrets:
                # Without the secret: what was masked before stays, what is masked by it is found.
                if Redactor([secret])(text) != Redactor()(text):
                    raise Violation(
                        f"{where} shows a secret of the settings: {Redactor(secrets)(text)[:300]} "
                        f"({MASK} stands for it here).",
                        why="Errors, states and log lines are stored and shown to every user.",
                        remedy="Type the setting as SecretStr, use get_secret_value() only where "
                        "it is sent, and build errors of your own words: the texts of clients "
                        "often repeat addresses and headers.",
                    )

    def _secrets(self, sensor: AnySensor) -> list[str]:
        known = declared(sensor).sensors[NAME].secrets
        if self.secrets is None:
            return list(known)
        for secret in self.secrets:
            if not any(secret in f"{each} {unquote(each)} {unquote_plus(each)}" for each in known):
                raise Violation(
                    f"the secret {secret[:2]}... is in no setting that is known to be secret.",
                    why="FlowStone masks the secrets that it knows; this one it would show.",
                    remedy="Type the setting as SecretStr.",
                )
        return list(self.secrets)

    def _polls(self, driver: Driver) -> Said:
        for hook in (None, self.break_source, None):
            self._change()
            self.settle()
            if hook is None:
                yield from _of(driver.poll())
                continue
            try:
                broken = hook()
            except pytest.skip.Exception:
                continue
            with broken:
                yield from _of(driver.poll())


def _about(sensor: AnySensor) -> Said:
    for name, value in (("its config", sensor.config), ("the sensor", sensor)):
        yield f"repr() of {name}", repr(value)
        yield f"str() of {name}", str(value)
    settings = shown_settings(declared(sensor).sensors[NAME], Redactor(), defaults=True)
    yield "'flowstone sensors show'", str(settings)
    yield "the error of a wrong setting", str(refusal(sensor, {"nothing_of_that_name": 1}))


def _of(record: PollRecord) -> Said:
    yield "the state", f"{record.given_state} {record.state}"
    for event in record.events:
        yield "an event's partition", f"{event.partition} {decode_partition(event.partition)!r}"
        yield "an event's key", f"{event.key} {decode_partition(event.key)!r}"
        yield "an event's payload", str(event.payload)
    error = record.seen if isinstance(record.seen, BaseException) else None
    error = error or getattr(record.seen, "error", None)
    yield "an error", str(error)
    while isinstance(error, BaseException):
        yield f"an error, {type(error).__qualname__},", f"{error} {error!r}"
        notes = getattr(error, "__notes__", [])
        yield "a note to an error", str(notes)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@contextmanager
def _logged(sensor_class: type[AnySensor]) -> Iterator[list[str]]:
    """Collect what is logged, and of the sensor's own package also what is for debugging."""
    lines: list[str] = []
    formatter = logging.Formatter()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            extra = {name: value for name, value in vars(record).items() if name != "args"}
            lines.append(f"{formatter.format(record)} {extra}")

    collector = Collector()
    root = logging.getLogger()
    names = {"flowstone.sensor", sensor_class.__module__.partition(".")[0]}
    own = [logging.getLogger(name) for name in sorted(names)]
    levels = [logger.level for logger in own]
    root.addHandler(collector)
    for logger in own:
        logger.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.removeHandler(collector)
        for logger, level in zip(own, levels, strict=True):
            logger.setLevel(level)
