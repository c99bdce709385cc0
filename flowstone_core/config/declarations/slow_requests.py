"""Slow requests: warnings of sensors whose own time limits do not fit their polls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from flowstone_core.errors import Problem
from flowstone_core.model.duration import format_duration
from flowstone_core.model.sensor import SensorDeclaration

_LIMITS = ("timeout", "poll_timeout", "wait")
"""Settings of sensors for the time that one request, or all of a poll, may take."""


_HIDDEN = "visibility"
"""Setting of a sensor for the time until a message is received again that nothing deleted."""


def slow_requests(sensors: Iterable[SensorDeclaration]) -> Iterator[Problem]:
    """Yield a warning for each time limit of a sensor that its deadline does not exceed.

    Beside ``poll_timeout`` a last request may take ``timeout`` twice: to connect and to respond.
    And yield one for messages that are hidden until the next poll deletes them, if that may begin
    too late.
    """
    for sensor in sensors:
        yield from _reappearing(sensor)
        deadline = sensor.settings.deadline
        limits = {name: getattr(sensor.config, name, None) for name in _LIMITS}
        given = {name: each for name, each in limits.items() if isinstance(each, timedelta)}
        for name, limit in given.items():
            room = deadline - limit
            text = f"must exceed {name} = {format_duration(limit)}"
            hint = f"raise deadline, or lower {name}"
            if name == "poll_timeout" and "timeout" in given:
                room -= 2 * given["timeout"] - timedelta.resolution
                text += f" by twice timeout = {format_duration(given['timeout'])}"
            if room <= timedelta(0):
                message = f"deadline = {format_duration(deadline)} {text}"
                yield Problem(message, sensor.where, f"sensor {sensor.name!r}", hint)


def _reappearing(sensor: SensorDeclaration) -> Iterator[Problem]:
    hidden = getattr(sensor.config, _HIDDEN, None)
    every, deadline = sensor.settings.every, sensor.settings.deadline
    # A poll begins at a multiple of its interval, after the end of the last one.
    longest = (deadline // every + 1) * every
    if isinstance(hidden, timedelta) and hidden <= longest:
        yield Problem(
            f"{_HIDDEN} = {format_duration(hidden)} must exceed {format_duration(longest)}, the "
            f"longest time from poll to poll with every = {format_duration(every)} and "
            f"deadline = {format_duration(deadline)}",
            sensor.where,
            f"sensor {sensor.name!r}",
            "or messages are received again before the next poll deletes them: raise "
            f"{_HIDDEN}, or lower every or deadline",
        )
