"""Pickling checks: assets and sensors that run in a child process must be sent to it."""

from __future__ import annotations

from collections.abc import Iterator

from flowstone_core.errors import Problem
from flowstone_core.model.asset import Asset
from flowstone_core.model.safe_text import describe
from flowstone_core.model.sensor import SensorDeclaration


def asset_pickling_problems(asset: Asset) -> Iterator[Problem]:
    """Yield a problem if the asset runs in a process and its function cannot be pickled."""
    if asset.run_in == "process":
        hint = "its function must be found, under its own name, at the top level of a module"
        subject = f"asset {asset.name!r} run_in"
        yield from _problems(asset.where, subject, hint, asset.function)


def sensor_pickling_problems(sensor: SensorDeclaration) -> Iterator[Problem]:
    """Yield a problem if the sensor runs in a process and cannot be pickled."""
    if sensor.settings.isolation == "process":
        hint = "its class, and all in its settings, must be found at the top level of a module"
        subject = f"sensor {sensor.name!r} isolation"
        yield from _problems(sensor.where, subject, hint, sensor.sensor_class, sensor.config)


def _problems(where: str, subject: str, hint: str, *values: object) -> Iterator[Problem]:
    # Imported only when something is pickled: it slows the start of every command otherwise.
    from multiprocessing.reduction import ForkingPickler

    for value in values:
        try:
            ForkingPickler.dumps(value)
        except Exception as error:  # noqa: BLE001 - a foreign __reduce__ may raise anything
            message = f"cannot be pickled for a child process: {describe(error)}"
            yield Problem(message, where, subject, hint)
            return
