import pytest

from flowstone_core.errors import ValidationError
from flowstone_core.scheduling.cron import CronTrigger

MINUTES = "allowed are 0-59"
HOURS = "allowed are 0-23"
DAYS = "allowed are 1-31 and L"
MONTHS = "allowed are 1-12 and jan-dec"
WEEKDAYS = "allowed are 0-7 and sun-sat, 5L, 5#2"
LAST = " (L is the last day of a month, 5L its last Friday)"
WORKDAY = " (the nearest working day cannot be written)"
NTH = " (# is for the day of week: 5#2 is the second Friday of a month)"
RANDOM = " (write a number: H and R mean a random one elsewhere)"
INVALID = "invalid cron expression:"


def refused(text):
    with pytest.raises(ValidationError) as caught:
        CronTrigger(text)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("60", f"'60' is out of range; {MINUTES}"),
        ("1,61,2", f"'61' is out of range; {MINUTES}"),
        ("5-61", f"'5-61' is out of range; {MINUTES}"),
        ("99999999999999999999", f"'99999999999999999999' is out of range; {MINUTES}"),
        ("-5", f"'-5' is not understood; {MINUTES}"),
        ("+5", f"'+5' is not understood; {MINUTES}"),
        ("1.5", f"'1.5' is not understood; {MINUTES}"),
        ("5-", f"'5-' is not understood; {MINUTES}"),
        ("1-2-3", f"'1-2-3' is not understood; {MINUTES}"),
        ("*5", f"'*5' is not understood; {MINUTES}"),
        ("**", f"'**' is not understood; {MINUTES}"),
        ("*-5", f"'*-5' is not understood; {MINUTES}"),
        ("*/", f"'*/' is not understood; {MINUTES}"),
        ("/5", f"'/5' is not understood; {MINUTES}"),
        ("*/5/5", f"'*/5/5' is not understood; {MINUTES}"),
        ("*/-5", f"'*/-5' is not understood; {MINUTES}"),
        ("*/0", "'*/0' has the step 0; allowed are 1-60"),
        ("*/70", "'*/70' has the step 70; allowed are 1-60"),
        ("0-10/61", "'0-10/61' has the step 61; allowed are 1-60"),
        ("22-2", f"'22-2' runs backwards; {MINUTES} (write 22-59,0-2)"),
        ("59-0", f"'59-0' runs backwards; {MINUTES} (write 59,0)"),
        ("22-2/2", f"'22-2/2' runs backwards; {MINUTES}"),
        ("", None),
        (",", f"'' is an empty item of a list; {MINUTES}"),
        ("5,", f"'' is an empty item of a list; {MINUTES}"),
        (",5", f"'' is an empty item of a list; {MINUTES}"),
        ("5,,6", f"'' is an empty item of a list; {MINUTES}"),
        ("\u0665", f"'\u0665' is not understood; {MINUTES}"),
        ("\uff15", f"'\uff15' is not understood; {MINUTES}"),
        ("\u00b2", f"'\u00b2' is not understood; {MINUTES}"),
        ("5\u00a06", rf"'5\xa06' is not understood; {MINUTES}"),
        ("5\0", rf"'5\x00' is not understood; {MINUTES}"),
        ("\u202e5", rf"'\u202e5' is not understood; {MINUTES}"),
        ("five", f"'five' is not understood; {MINUTES}"),
        ("jan", f"'jan' is not understood; {MINUTES}"),
        ("?", f"'?' is not understood; {MINUTES} (write *)"),
        ("H", f"'H' is not understood; {MINUTES}{RANDOM}"),
        ("H/15", f"'H/15' is not understood; {MINUTES}{RANDOM}"),
        ("H(0-29)/10", f"'H(0-29)/10' is not understood; {MINUTES}{RANDOM}"),
        ("R", f"'R' is not understood; {MINUTES}{RANDOM}"),
        ("L", f"'L' is not understood; {MINUTES}{LAST}"),
        ("5L", f"'5L' is not understood; {MINUTES}{LAST}"),
        ("5#2", f"'5#2' is not understood; {MINUTES}{NTH}"),
        ("x" * 500, "'" + "x" * 79 + f" [422 more characters] is not understood; {MINUTES}"),
    ],
)  # fmt: skip
def test_cron_invalid_minute_is_refused(field, said):
    if said is not None:
        assert refused(f"{field} * * * *") == [f"{INVALID} minute {said}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("60 * * * * *", f"second '60' is out of range; {MINUTES}"),
        ("* 24 * * *", f"hour '24' is out of range; {HOURS}"),
        ("* */25 * * *", "hour '*/25' has the step 25; allowed are 1-24"),
        ("* 22-2 * * *", f"hour '22-2' runs backwards; {HOURS} (write 22-23,0-2)"),
        ("* * 0 * *", f"day of month '0' is out of range; {DAYS}"),
        ("* * 32 * *", f"day of month '32' is out of range; {DAYS}"),
        ("* * */32 * *", "day of month '*/32' has the step 32; allowed are 1-31"),
        ("* * 25-5 * *", f"day of month '25-5' runs backwards; {DAYS} (write 25-31,1-5)"),
        ("* * ? * *", f"day of month '?' is not understood; {DAYS} (write *)"),
        ("* * L-3 * *", f"day of month 'L-3' is not understood; {DAYS}{LAST}"),
        ("* * L/2 * *", f"day of month 'L/2' is not understood; {DAYS}"),
        ("* * 5L * *", f"day of month '5L' is not understood; {DAYS}{LAST}"),
        ("* * 15W * *", f"day of month '15W' is not understood; {DAYS}{WORKDAY}"),
        ("* * LW * *", f"day of month 'LW' is not understood; {DAYS}{WORKDAY}"),
        ("* * 1#2 * *", f"day of month '1#2' is not understood; {DAYS}{NTH}"),
        ("* * mon * *", f"day of month 'mon' is not understood; {DAYS}"),
        ("* * * 0 *", f"month '0' is out of range; {MONTHS}"),
        ("* * * 13 *", f"month '13' is out of range; {MONTHS}"),
        ("* * * */13 *", "month '*/13' has the step 13; allowed are 1-12"),
        ("* * * january *", f"month 'january' is not understood; {MONTHS} (did you mean 'jan'?)"),
        ("* * * 2-sept *", f"month '2-sept' is not understood; {MONTHS} (did you mean 'sep'?)"),
        ("* * * nov-feb *", f"month 'nov-feb' runs backwards; {MONTHS} (write nov-dec,jan-feb)"),
        ("* * * dec-jan *", f"month 'dec-jan' runs backwards; {MONTHS} (write dec,jan)"),
        ("* * * 11-2 *", f"month '11-2' runs backwards; {MONTHS} (write 11-12,1-2)"),
        ("* * * L *", f"month 'L' is not understood; {MONTHS}{LAST}"),
        ("* * * * 8", f"day of week '8' is out of range; {WEEKDAYS}"),
        ("* * * * */8", "day of week '*/8' has the step 8; allowed are 1-7"),
        ("* * * * friday",
         f"day of week 'friday' is not understood; {WEEKDAYS} (did you mean 'fri'?)"),
        ("* * * * fri-mon",
         f"day of week 'fri-mon' runs backwards; {WEEKDAYS} (write fri-sun,mon)"),
        ("* * * * sat-tue",
         f"day of week 'sat-tue' runs backwards; {WEEKDAYS} (write sat-sun,mon-tue)"),
        ("* * * * 5-1", f"day of week '5-1' runs backwards; {WEEKDAYS} (write 5-7,1)"),
        ("* * * * 7-2", f"day of week '7-2' runs backwards; {WEEKDAYS} (write 7,1-2)"),
        ("* * * * 5-0", f"day of week '5-0' runs backwards; {WEEKDAYS} (write 5-7)"),
        ("* * * * L", f"day of week 'L' is not understood; {WEEKDAYS}{LAST}"),
        ("* * * * 5L/2", f"day of week '5L/2' is not understood; {WEEKDAYS}"),
        ("* * * * 1-5L", f"day of week '1-5L' is not understood; {WEEKDAYS}"),
        ("* * * * L5L", f"day of week 'L5L' is not understood; {WEEKDAYS}"),
        ("* * * * 8L", f"day of week '8L' is out of range; {WEEKDAYS}"),
        ("* * * * fooL", f"day of week 'fooL' is not understood; {WEEKDAYS}"),
        ("* * * * 5#6", "day of week '5#6' has an invalid number after #; allowed are 1-5"),
        ("* * * * 5#0", "day of week '5#0' has an invalid number after #; allowed are 1-5"),
        ("* * * * 8#1", f"day of week '8#1' is out of range; {WEEKDAYS}"),
        ("* * * * 5#", f"day of week '5#' is not understood; {WEEKDAYS}{NTH}"),
        ("* * * * 1-5#2", f"day of week '1-5#2' is not understood; {WEEKDAYS}{NTH}"),
        ("* * * * 5#1/2", f"day of week '5#1/2' is not understood; {WEEKDAYS}{NTH}"),
    ],
)  # fmt: skip
def test_cron_invalid_field_is_refused(text, said):
    assert refused(text) == [f"{INVALID} {said}"]


def test_cron_lists_all_invalid_fields():
    assert refused("60 61 24 0 13 8") == [
        f"{INVALID} second '60' is out of range; {MINUTES}",
        f"{INVALID} minute '61' is out of range; {MINUTES}",
        f"{INVALID} hour '24' is out of range; {HOURS}",
        f"{INVALID} day of month '0' is out of range; {DAYS}",
        f"{INVALID} month '13' is out of range; {MONTHS}",
        f"{INVALID} day of week '8' is out of range; {WEEKDAYS}",
    ]


FIELDS = (
    "five are allowed (minute, hour, day of month, month, day of week), "
    "or six with the second before them"
)
ALIASES = (
    "unknown name; allowed are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", f"0 fields; {FIELDS}"),
        ("   ", f"0 fields; {FIELDS}"),
        ("* * * *", f"4 fields; {FIELDS}"),
        ("0 0 1 1 * * 26", f"7 fields; {FIELDS} (years cannot be written)"),
        ("* * * * * * * *", f"8 fields; {FIELDS}"),
        ("*\u00a0* * * *", f"4 fields; {FIELDS}"),
        ("@reboot", f"{ALIASES} (a schedule fires at times, not when something starts)"),
        ("@every 5m", f"{ALIASES} (write every = 5m instead of a cron expression)"),
        ("@Every5m", f"{ALIASES} (write every = 5m instead of a cron expression)"),
        ("@dayly", f"{ALIASES} (did you mean '@daily'?)"),
        ("@", f"{ALIASES}"),
        ("@daily *", f"{ALIASES} (did you mean '@daily'?)"),
        ("0 0 30 2 *", "never fires, no month of it has such a day"),
        ("0 0 31 2,4,6,9,11 *", "never fires, no month of it has such a day"),
        ("0 0 */30 feb 1#2", "never fires, no month of it has such a day"),
        ("5 0 0 30,31 2 *", "never fires, no month of it has such a day"),
    ],
)  # fmt: skip
@pytest.mark.timeout(2)
def test_T4_invalid_cron_expression_is_refused(text, said):
    assert refused(text) == [f"invalid cron expression {text.strip()!r}: {said}"]


def test_long_text_is_refused():
    (said,) = refused("0," * 1_000_000 + "0 * * * *")
    assert "2,000,009 characters, at most 1,000" in said
    assert len(said) < 300
    longest = "0," * 495 + "0 * * * *"
    assert CronTrigger("0" + longest)
    assert "1,001 characters" in refused("00" + longest)[0]


@pytest.mark.parametrize("text", [None, 5, b"* * * * *", ["*"] * 5])
def test_value_that_is_not_text_is_refused(text):
    with pytest.raises(ValidationError, match="a trigger must be text"):
        CronTrigger(text)


def test_unknown_time_zone_is_refused():
    with pytest.raises(ValidationError, match="did you mean 'Europe/Warsaw'"):
        CronTrigger("* * * * *", "Europe/Warsow")
