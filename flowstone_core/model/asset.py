"""Asset: a named piece of data and the function that materializes one partition of it."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event as Flag
from typing import Literal, TypeAlias

from flowstone_core.errors import NotFoundError, Problem, ValidationError
from flowstone_core.model.event import StoredEvent
from flowstone_core.model.json_document import Json, JsonObject
from flowstone_core.model.partition import Partition

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", re.ASCII)
"""Valid names of assets, sensors and schedules."""


def _forget(_secret: str) -> None:
    """Do nothing: no text of a test leaves the process."""


@dataclass(frozen=True)
class Context:
    """Argument of an asset function: partition, run id, events and dependencies' metadata.

    Attributes:
        asset: The asset's name.
        partition: The partition as a typed value: a date, a datetime, a string, or a tuple.
        run_id: The same in each attempt and unique everywhere: use it as the idempotency key of
            the function's effects on the outside world.
        attempt: Number of this attempt; the first is 1.
        events: The events that requested this materialization, oldest first, with payloads.
        upstream: The metadata of the assets it depends on, for the same partition, by name.
        logger: Log lines through it carry asset, partition, run id and attempt.
    """

    asset: str
    partition: Partition
    run_id: str
    attempt: int = 1
    events: tuple[StoredEvent, ...] = ()
    upstream: Mapping[str, JsonObject | None] = field(default_factory=dict)
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] = field(
        default_factory=lambda: logging.getLogger("flowstone.asset")
    )
    _cancelled: Flag = field(default_factory=Flag, repr=False, compare=False)
    _learn: Callable[[str], None] = field(default=_forget, repr=False, compare=False)

    @property
    def payloads(self) -> tuple[JsonObject, ...]:
        """The payloads of `events`, those without one left out."""
        return tuple(event.payload for event in self.events if event.payload is not None)

    def secret(self, name: str) -> str:
        """Return a variable of the environment, and hide its value in this process from now on.

        It is shown as ``***`` in log lines, errors and metadata, whatever its name is.

        Args:
            name: The name of the variable, such as ``SHOP_KEY``.

        Raises:
            NotFoundError: If the variable is not set, or is empty.
        """
        value = os.environ.get(name)
        if not value:
            raise NotFoundError(
                f"environment variable {name} is not set", hint="set it where the runner is started"
            )
        self._learn(value)
        return value

    @property
    def cancelled(self) -> bool:
        """True if this attempt's result will be discarded: it was cancelled or its lease expired.

        A long function checks this now and then, and returns early when it is true.
        """
        return self._cancelled.is_set()


AssetFunction: TypeAlias = Callable[[Context], Mapping[str, Json] | None]


@dataclass(frozen=True)
class Asset:
    """An asset: name, function, dependencies and the rules of its attempts.

    Attributes:
        name: Letters, digits, ``_``, ``.`` and ``-``; at most 200.
        function: Materializes one partition; the return value, a small JSON mapping or None, is
            kept as the materialization's metadata.
        depends_on: Names of assets whose same partition must be completed before.
        follow: True if this asset becomes due whenever one of ``depends_on`` completes.
        max_attempts: Maximum number of attempts before the materialization is discarded.
        backoff: The first delay between attempts; doubled each time, with full jitter.
        backoff_limit: The longest delay between attempts.
        timeout: Maximum duration of one attempt; a longer one has failed. None for no limit.
        run_in: ``thread``, or ``process``: a child process, killed at the timeout.
        where: ``file:line`` of the declaration.
    """

    name: str
    function: AssetFunction
    depends_on: tuple[str, ...] = ()
    follow: bool = False
    max_attempts: int = 5
    backoff: timedelta = timedelta(seconds=5)
    backoff_limit: timedelta = timedelta(minutes=30)
    timeout: timedelta | None = None
    run_in: Literal["thread", "process"] = "thread"
    where: str = ""

    @property
    def description(self) -> str:
        """The first line of the function's docstring, or an empty text."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


class AssetGraph(Mapping[str, Asset]):
    """All assets by name, with their dependencies.

    Args:
        assets: In an order in which each asset comes after those it depends on; that order rules
            out cycles, and is kept.

    Raises:
        ValidationError: If a name is duplicate, or an asset depends on one that is missing or
            declared later; lists all problems.
    """

    def __init__(self, assets: Iterable[Asset] = ()) -> None:
        self._assets: dict[str, Asset] = {}
        self._followers: dict[str, list[str]] = {}
        self._dependents: dict[str, list[str]] = {}
        problems: list[Problem] = []
        for asset in assets:
            problems.extend(self._add(asset))
        if problems:
            raise ValidationError(problems)

    def __getitem__(self, name: str) -> Asset:
        return self._assets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._assets)

    def __len__(self) -> int:
        return len(self._assets)

    def followers(self, name: str) -> tuple[str, ...]:
        """Return the assets that become due when this one completes."""
        return tuple(self._followers.get(name, ()))

    def dependents(self, name: str) -> tuple[str, ...]:
        """Return the assets that depend directly on this one."""
        return tuple(self._dependents.get(name, ()))

    def _add(self, asset: Asset) -> Iterable[Problem]:
        if asset.name in self._assets:
            first = self._assets[asset.name].where
            yield Problem(
                f"duplicate asset {asset.name!r}",
                asset.where,
                hint=f"first declared at {first}" if first else "",
            )
            return
        self._assets[asset.name] = asset
        for upstream in asset.depends_on:
            if upstream not in self._assets or upstream == asset.name:
                yield Problem(
                    f"unknown asset {upstream!r}",
                    asset.where,
                    f"asset {asset.name!r} depends_on",
                    "declare it first",
                )
                continue
            self._dependents.setdefault(upstream, []).append(asset.name)
            if asset.follow:
                self._followers.setdefault(upstream, []).append(asset.name)
