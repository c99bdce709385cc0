"""Fixtures of the runtime tests."""

from collections.abc import Iterator

import pytest

from tests.runtime.runner_house import House
from tests.runtime.schedule_desk import Desk


@pytest.fixture
def house(store, fake_clock):
    house = House(store, fake_clock)
    yield house
    for dispatcher in house.dispatcher:
        dispatcher.close(timeout=5)


@pytest.fixture
def desk(store, fake_clock) -> Iterator[Desk]:
    desk = Desk(store, fake_clock)
    yield desk
    for dispatcher in desk.dispatcher:
        dispatcher.close(timeout=5)
