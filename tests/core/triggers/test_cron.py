from datetime import UTC, datetime
from itertools import islice

import pytest

from flowstone_core.triggers.cron import CronTrigger


def instants(trigger, after):
    while (after := trigger.next_fire(after)) is not None:
        yield after.isoformat()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30 2 * * *", ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]),
        ("*/30 2-3 * * *", ["2026-03-08T03:00:00-04:00", "2026-03-08T03:30:00-04:00"]),
    ],
)
def test_a_gap(text, expected):
    trigger = CronTrigger(text, "America/New_York")
    after = datetime(2026, 3, 8, 5, tzinfo=UTC)
    assert list(islice(instants(trigger, after), len(expected))) == expected
