"""Fixtures of the engine tests."""

from datetime import timedelta

import pytest

from tests.runtime.engine.workshop import Workshop


@pytest.fixture
def workshop(store, fake_clock):
    workshop = Workshop(store, fake_clock)
    yield workshop
    for engine in workshop.engines:
        assert engine.stop(timedelta(0)), "a test must leave nothing running"
