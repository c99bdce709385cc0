"""Sensors of a project: list, pause, resume, reset and dry-run them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flowstone_core.app.lookup import unknown
from flowstone_core.app.status import SensorStatus
from flowstone_core.config.project import Project
from flowstone_core.errors import ConflictError, NotFoundError
from flowstone_core.model.clock import Clock

if TYPE_CHECKING:
    from flowstone_core.app.dry_run import ConnectionCheck, DryRun
    from flowstone_core.model.tick import Tick
    from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
    from flowstone_core.store import Store


class Sensors:
    """Sensors that are declared or stored; `Flowstone.sensors`. Any thread may call its methods.

    Args:
        open_store: Returns the open store.
        project: What files and pipelines declare.
        clock: Reads the time.
    """

    def __init__(self, open_store: Callable[[], Store], project: Project, clock: Clock) -> None:
        self._open_store = open_store
        self._project = project
        self._clock = clock

    def all(self) -> list[SensorStatus]:
        """List the sensors that are declared or stored, by name."""
        from flowstone_core.app.runner_view import RunnerView

        store = self._open_store()
        records = {record.name: record for record in store.sensors.all()}
        view = RunnerView(store, self._project, self._clock.now())
        names = sorted({*self._project.sensors, *records})
        return [view.status(name, records.get(name)) for name in names]

    def get(self, name: str) -> SensorStatus:
        """Return one sensor.

        Raises:
            NotFoundError: If no sensor of this name is declared or stored.
        """
        for status in self.all():
            if status.name == name:
                return status
        raise self._unknown(name)

    def state(self, name: str) -> str | None:
        """Return a sensor's stored state as JSON text; None before its first poll.

        Raises:
            NotFoundError: If no sensor of this name is declared or stored.
        """
        self._register(name)
        return self._open_store().sensors.get(name).checkpoint.state

    def skipping(self, name: str, limit: int = 10) -> list[Tick]:
        """List the last ticks in which a sensor skipped items for good, newest first."""
        return self._open_store().ticks.latest(f"sensor:{name}", limit, skipping=True)

    def pause(self, name: str) -> None:
        """Pause a sensor; its runner stops polling it within two seconds.

        Raises:
            NotFoundError: If no sensor of this name is declared or stored.
        """
        self._register(name)
        self._open_store().sensors.pause(name)

    def resume(self, name: str) -> None:
        """Resume a paused sensor from its stored state.

        Raises:
            NotFoundError: If no sensor of this name is declared or stored.
        """
        self._register(name)
        self._open_store().sensors.resume(name)

    def reset(self, name: str, *, forget_keys: bool = False) -> None:
        """Forget a sensor's state, failures and back-off; it starts with `Sensor.init` again.

        Args:
            name: The sensor.
            forget_keys: Forget the keys of its events too, so that the same events fire again.

        Raises:
            NotFoundError: If no sensor of this name is declared or stored.
        """
        self._register(name)
        self._open_store().sensors.reset(name, forget_keys=forget_keys)

    def rename(self, old: str, new: str) -> None:
        """Continue a sensor under another name: with its state, history and event keys.

        Args:
            old: The name that is no longer declared.
            new: The name that is declared instead.

        Raises:
            NotFoundError: If no sensor of the old name is stored, or none of the new is declared.
            ConflictError: If the old name is declared, a runner polls one of the two, or the new
                name has a history already.
        """
        if new not in self._project.sensors:
            raise self._unknown(new)
        self._refuse_declared(old, "rename")
        self._open_store().sensors.rename(old, new, self._clock.now())

    def remove(self, name: str) -> None:
        """Remove a sensor that is no longer declared, with its state; its history is kept.

        Raises:
            NotFoundError: If no sensor of this name is stored.
            ConflictError: If the sensor is declared, or a runner polls it.
        """
        self._refuse_declared(name, "remove")
        self._open_store().sensors.remove(name, self._clock.now())

    def poll(self, name: str, *, state: str | None = None) -> DryRun:
        """Poll a sensor now, within its deadline, and commit nothing.

        Args:
            name: The sensor.
            state: The JSON text of the state to start from, instead of the stored one.

        Returns:
            What a tick would commit.

        Raises:
            NotFoundError: If no sensor of this name is declared.
            ValidationError: If the state is not JSON, or too large.
        """
        from flowstone_core.app.dry_run import poll_once

        ticker = self._ticker(name)
        for record in self._open_store().sensors.all([name]):
            ticker.checkpoint = record.checkpoint
        if state is not None:
            ticker.checkpoint = ticker.checkpoint.from_state(state)
        return poll_once(ticker, self._clock)

    def connect(self) -> list[ConnectionCheck]:
        """Check that each enabled sensor reaches its external source within its deadline.

        Nothing is committed, and the store is not opened.
        """
        from flowstone_core.app.dry_run import check_connections

        declared = self._project.sensors.values()
        enabled = [sensor.name for sensor in declared if sensor.settings.enabled]
        return check_connections(map(self._ticker, enabled), self._clock)

    def _register(self, name: str) -> None:
        """Insert a declared sensor into a store that no runner has registered it in yet."""
        if name in self._project.sensors:
            self._open_store().sensors.declare([name], self._clock.now())
        elif not self._open_store().sensors.all([name]):
            raise self._unknown(name)

    def _refuse_declared(self, name: str, verb: str) -> None:
        declaration = self._project.sensors.get(name)
        if declaration is not None:
            hint = f"change its declaration first, at {declaration.where}"
            raise ConflictError(f"cannot {verb} sensor {name!r}: it is declared", hint=hint)

    def _ticker(self, name: str) -> SensorTicker:
        from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker

        declaration = self._project.sensors.get(name)
        if declaration is None:
            raise self._unknown(name)
        return SensorTicker(declaration, self._project.assets, self._clock, self._project.redactor)

    def _unknown(self, name: str) -> NotFoundError:
        stored = (record.name for record in self._open_store().sensors.all())
        return unknown("sensor", name, {*self._project.sensors, *stored})
