from datetime import UTC, datetime
from itertools import islice

import pytest

from flowstone_core.triggers.every import EveryTrigger


def instants(trigger, after):
    while (after := trigger.next_fire(after)) is not None:
        yield after.isoformat()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 minutes", ["2026-03-07T07:10:00-05:00", "2026-03-07T07:20:00-05:00"]),
        ("day at 02:30", ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]),
    ],
)
def test_intervals_in_words(text, expected):
    trigger = EveryTrigger(text, "America/New_York")
    after = datetime(2026, 3, 7, 12, tzinfo=UTC)
    assert list(islice(instants(trigger, after), len(expected))) == expected
