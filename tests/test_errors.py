import inspect
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core import errors
from flowstone_core.errors import (
    AttemptTimeoutError,
    ChildDiedError,
    ConflictError,
    Discard,
    FlowstoneError,
    NotFoundError,
    OutcomeError,
    PluginError,
    PollTimeoutError,
    Problem,
    RetryLater,
    SensorBroken,
    StoreError,
    StoreUnavailableError,
    ValidationError,
    did_you_mean,
)
from flowstone_core.model.backoff import RETRY_LATER_LIMIT, honoured_delay
from flowstone_core.model.safe_text import MESSAGE_LIMIT, describe, describe_traceback, printable

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
]


def an_error(kind):
    return RetryLater(5, "busy") if kind is RetryLater else kind("what was wrong")


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_one_root_and_its_message(kind):
    error = an_error(kind)
    assert isinstance(error, FlowstoneError)
    assert str(error) == ("busy" if kind is RetryLater else "what was wrong")


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_a_pickle(kind):
    error = an_error(kind)
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert (str(back), back.__dict__) == (str(error), error.__dict__)


def test_error_has_message_context_and_hint():
    error = ConflictError("it runs already", hint="wait for it", sensor="feed")
    assert str(error) == "it runs already (wait for it)"
    assert error.context == {"sensor": "feed"}
    assert (error.message, error.hint) == ("it runs already", "wait for it")


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ValidationError, ValueError),
        (NotFoundError, LookupError),
        (PollTimeoutError, TimeoutError),
        (OutcomeError, PluginError),
        (StoreUnavailableError, StoreError),
    ],
)
def test_error_inherits_from_matching_builtin(kind, builtin):
    assert issubclass(kind, builtin)


def test_error_has_retryable_flag():
    retryable = {kind for kind in KINDS if kind.retryable}
    assert retryable == {
        AttemptTimeoutError,
        ChildDiedError,
        PollTimeoutError,
        RetryLater,
        StoreUnavailableError,
    }


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("wrong"), "wrong"),
        (Problem("wrong", "a.cfg:3"), "a.cfg:3: wrong"),
        (Problem("wrong", subject="[x] every"), "[x] every: wrong"),
        (Problem("wrong", "a.cfg:3", "[x] every", "use 5s"), "a.cfg:3: [x] every: wrong (use 5s)"),
    ],
)
def test_problem_text_has_place_message_and_hint(problem, text):
    assert str(problem) == text


def test_validation_error_lists_all_problems():
    one, two = Problem("first", "a:1"), Problem("second", "a:2")
    assert str(ValidationError([one, two])) == "a:1: first\na:2: second"
    assert ValidationError(iter([one, two])).problems == (one, two)
    assert ValidationError(one).problems == (one,)
    assert ValidationError("just text").problems == (Problem("just text"),)


class TestRetryLater:
    def test_retry_later_number_is_seconds(self):
        assert RetryLater(1.5).delay == timedelta(seconds=1.5)
        assert RetryLater(timedelta(minutes=1)).delay == timedelta(minutes=1)

    @pytest.mark.parametrize("delay", [-1, -0.001, timedelta(seconds=-1), float("nan")])
    def test_retry_later_with_invalid_delay_is_refused(self, delay):
        with pytest.raises(ValueError, match=r"negative|NaN"):
            RetryLater(delay)

    @pytest.mark.parametrize("delay", [1e300, float("inf"), 10**30, timedelta.max])
    def test_huge_delay_is_cut_to_the_limit(self, delay):
        assert honoured_delay(RetryLater(delay)) == RETRY_LATER_LIMIT == timedelta(days=7)

    def test_delay_below_the_limit_is_honoured(self):
        assert honoured_delay(RetryLater(0)) == timedelta(0)
        assert honoured_delay(RetryLater(90)) == timedelta(seconds=90)

    def test_other_errors_have_no_delay(self):
        foreign = OSError()
        foreign.delay = timedelta(5)
        assert honoured_delay(foreign) is None
        assert honoured_delay(ValueError()) is None
        assert honoured_delay(SensorBroken("gone")) is None
        assert honoured_delay(Discard("no")) is None

    def test_retry_later_subclass_with_invalid_delay_has_none(self):
        class NoDelay(RetryLater):
            def __init__(self):
                pass

        class RaisingDelay(RetryLater):
            delay = property(lambda self: 1 / 0, lambda self, value: None)

        changed = RetryLater(5)
        changed.delay = "5 minutes"
        negative = RetryLater(5)
        negative.delay = timedelta(-1)
        for error in (NoDelay(), RaisingDelay(5), changed, negative):
            assert honoured_delay(error) is None


class TestPrintable:
    @given(st.text(st.characters(exclude_categories=())))
    def test_printable_text_is_safe_everywhere(self, text):
        safe = printable(text)
        safe.encode()
        assert not set(safe) & {chr(code) for code in (*range(9), *range(11, 32), 127, 0x202E)}
        assert printable(safe) == safe

    @pytest.mark.parametrize(
        ("text", "safe"),
        [
            ("plain ünïcödé 🎉\n\tstays", "plain ünïcödé 🎉\n\tstays"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07x\x1b]8;;http://e\x1b\\y", "xy"),
            ("a\rb\x00c\x9bd", "a\\rb\\x00c\\x9bd"),
            ("\x1b[", "\\x1b["),
            ("a\u202eb\u2066c\u2028d", "a\\u202eb\\u2066c\\u2028d"),
            ("\ud800", "\\ud800"),
        ],
    )
    def test_P19_terminal_sequences_are_removed(self, text, safe):
        assert printable(text) == safe

    def test_long_text_is_cut_with_a_note(self):
        assert printable("x" * 12, limit=10) == "x" * 10 + " [2 more characters]"
        assert printable("x" * 10, limit=10) == "x" * 10


def test_message_limit_is_2000_characters():
    assert MESSAGE_LIMIT == 2_000
    assert printable("x" * 2_001) == "x" * 2_000 + " [1 more characters]"


class TestDescribe:
    def test_describe_has_kind_and_message(self):
        assert describe(KeyError("a")) == "KeyError: 'a'"
        assert describe(SystemExit()) == "SystemExit"

    def test_describe_own_errors_without_kind(self):
        assert describe(OutcomeError("poll returned None")) == "poll returned None"

    @pytest.mark.parametrize("raised", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
    def test_P19_describe_error_with_failing_str(self, raised):
        class NastyError(Exception):
            def __str__(self):
                raise raised("secret detail")

        assert describe(NastyError()).endswith(f"NastyError: <its str() raised {raised.__name__}>")

    def test_P19_describe_error_with_str_subclass(self):
        class Text(str):
            __slots__ = ()

            def __len__(self):
                raise RuntimeError

            __str__ = __len__

        class NastyError(Exception):
            def __str__(self):
                return Text("boom")

        assert describe(NastyError()).endswith("NastyError: boom")

    def test_P19_describe_error_with_failing_attributes(self):
        class NastyError(Exception):
            def __getattribute__(self, name):
                raise RuntimeError(name)

        assert describe(NastyError("boom")).endswith("NastyError: boom")

    def test_P19_describe_cuts_megabytes(self):
        text = describe(ValueError("x" * 10_000_000))
        assert len(text) < MESSAGE_LIMIT + 100
        assert text.endswith("more characters]")

    def test_P19_secret_is_redacted_before_the_cut(self):
        def redact(text):
            return text.replace("hunter2hunter2", "***")

        for before in range(MESSAGE_LIMIT - 20, MESSAGE_LIMIT + 1):
            assert "hunt" not in describe(ValueError("x" * before + "hunter2hunter2"), redact)

    def test_P19_terminal_sequence_cannot_hide_a_secret(self):
        def redact(text):
            return text.replace("hunter2", "***")

        assert describe(ValueError("pw=hun\x1b[0mter2"), redact) == "ValueError: pw=***"


def test_did_you_mean_returns_nearest_name_or_nothing():
    assert did_you_mean("buckt", ["prefix", "bucket"]) == "did you mean 'bucket'?"
    assert did_you_mean("zzz", ["prefix", "bucket"]) == ""
    assert did_you_mean("zzz", []) == ""


def test_traceback_has_lines_without_source():
    def fails():
        password = "hunter2"
        raise ValueError(password)

    try:
        fails()
    except ValueError as error:
        stack = describe_traceback(error)
        innermost = describe_traceback(error, frames=1)
    first, second = stack.splitlines()
    assert "in test_traceback" in first
    assert second.startswith(f"{__file__}:")
    assert second.endswith("in fails")
    assert innermost == second
    assert "hunter2" not in stack
    assert describe_traceback(ValueError()) == ""
