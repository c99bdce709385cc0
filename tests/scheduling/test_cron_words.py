"""Words for cron expressions."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from flowstone_core.scheduling.cron import CronTrigger

ODD = [str(day) for day in range(1, 31, 2)]
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 2 * * *", "At 02:00"),
        ("30 14 * * mon-fri", "At 14:30, Monday through Friday"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("@daily", "At 00:00"),
        ("15 0 8 * * *", "At 08:00:15"),
        ("0 0 L * *", "At 00:00, on the last day of the month"),
        ("0 0 * jul,aug 5L", "At 00:00, on the last Friday of the month, only in July and August"),
        ("0 0 13 * 5", "At 00:00, on day 13 of the month, or on Friday"),
        # A step that does not come round evenly: its times.
        ("*/45 * * * *", "At 0 and 45 minutes past the hour"),
        ("*/7 * * * *", "At 0, 7, 14, 21, 28, 35, 42, 49, and 56 minutes past the hour"),
        ("*/11 * * * *", "At 0, 11, 22, 33, 44, and 55 minutes past the hour"),
        ("0-10/20 * * * *", "Every hour"),
        ("30/20 * * * *", "At 30 and 50 minutes past the hour"),
        ("0 */5 * * *", "At 00:00, 05:00, 10:00, 15:00 and 20:00"),
        ("0 */13 * * *", "At 00:00 and 13:00"),
        ("0 */24 * * *", "At 00:00"),
        ("0 9-17/4 * * mon-fri", "At 09:00, 13:00 and 17:00, Monday through Friday"),
        ("0 2 */10 * *", "At 02:00, on day 1, 11, 21, and 31 of the month"),
        ("0 0 */2 * *", f"At 00:00, on day {', '.join(ODD)}, and 31 of the month"),
        ("0 0 1 */5 *", "At 00:00, on day 1 of the month, only in January, June, and November"),
        ("*/25 * * * * *", "At 0, 25, and 50 seconds past the minute"),
        ("*/45 */13 * * *", "At 0 and 45 minutes past the hour, in the hours of 00:00 and 13:00"),
        ("*/15 0,8,13 * * *", "Every 15 minutes, in the hours of 00:00, 08:00, and 13:00"),
        # One that does: its distance.
        ("*/15 * * * *", "Every 15 minutes"),
        ("5/15 * * * *", "Every 15 minutes, starting at 5 minutes past the hour"),
        ("0 */6 * * *", "Every 6 hours"),
        ("0 0 1 */3 *", "At 00:00, on day 1 of the month, every 3 months"),
        ("1-59/2 * * * *", "Every 2 minutes, minutes 1 through 59 past the hour"),
        ("0-50/2 * * * *", "Every 2 minutes, minutes 0 through 50 past the hour"),
        ("*/1 * * * *", "Every minute"),
        ("0-58/1 * * * *", "Minutes 0 through 58 past the hour"),
        ("5/1 * * * *", "Minutes 5 through 59 past the hour"),
        # Where the words would be wrong.
        ("0 0 13 * 5#2", "0 0 13 * 5#2"),
        ("0 0 */2 * 1", "0 0 */2 * 1"),
        ("0 0 * * 1/2", "0 0 * * 1/2"),
        ("0 0 * * 1,5L", "0 0 * * 1,5L"),
        ("5,*/10 * * * *", "5,*/10 * * * *"),
        ("0 0 * * 07", "0 0 * * 07"),
    ],
)  # fmt: skip
def test_X1_cron_describe_in_words(text, words):
    assert CronTrigger(text).describe() == words


def fires_each(trigger, span):
    """Return True if the next instants are all this far apart, over three hours and more."""
    found = [trigger.next_fire(START)]
    while found[-1] < START + 3 * (
        timedelta(days=1) if span >= timedelta(hours=1) else timedelta(hours=1)
    ):
        found.append(trigger.next_fire(found[-1]))
    return all(later - earlier == span for earlier, later in pairwise(found))


@pytest.mark.parametrize(
    ("form", "unit", "top"), [("{} * * * *", "minute", 60), ("0 {} * * *", "hour", 24)]
)
@pytest.mark.parametrize("begin", ["*", "0", "1", "7", "0-10", "3-22"])
def test_X1_every_is_said_of_even_steps_only(form, unit, top, begin):
    for step in range(1, top + 1):
        trigger = CronTrigger(form.format(f"{begin}/{step}"))
        words = trigger.describe()
        said = re.match(rf"Every (\d+) {unit}s(?:$|, starting)", words)
        size = timedelta(**{f"{unit}s": step})
        assert said is None or (int(said[1]) == step and fires_each(trigger, size)), words
        if unit == "minute" and words == "Every hour":
            assert fires_each(trigger, timedelta(hours=1))
