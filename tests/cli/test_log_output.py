"""Log lines: one a record, structured, redacted, and nothing that is logged can break them."""

import io
import json
import logging
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone_core.cli.log_output import VALUE_LIMIT, _LineHandler, configure
from flowstone_core.model.redaction import Redactor

SECRET = 'hunter2 \\ "secret"\n of mine'


@pytest.fixture(params=["keyvalue", "json"])
def style(request):
    return request.param


class Log:
    """A configured log, and what has come out of it."""

    def __init__(self, style, **options):
        self.style = style
        self.stream = io.StringIO()
        self.logger = logging.getLogger("flowstone.test")
        configure(style, stream=self.stream, **options)
        # pytest listens too, and raises what goes wrong with that.
        root = logging.getLogger()
        root.handlers[:] = [handler for handler in root.handlers if type(handler) is _LineHandler]

    @property
    def lines(self):
        """Each line as a dict."""
        text = self.stream.getvalue()
        assert text == "" or text.endswith("\n")
        return [self._read(line) for line in text.splitlines()]

    def _read(self, line):
        if self.style == "json":
            return json.loads(line)
        fields = (field.partition("=") for field in shlex.split(line, posix=True))
        return {key: value for key, _, value in fields}

    @property
    def line(self):
        (line,) = self.lines
        return line


def test_line_has_timestamp_level_logger_and_event(style):
    log = Log(style)
    record = log.logger.makeRecord(
        "flowstone.test", logging.INFO, __file__, 1, "tick %s", ("7",), None
    )
    record.created = 1_736_899_200.25
    logging.Formatter("%(asctime)s %(message)s").format(record)  # another handler was there first
    log.logger.handle(record)
    assert list(log.line.items()) == [
        ("timestamp", "2025-01-15T00:00:00.250Z"),
        ("level", "info"),
        ("logger", "flowstone.test"),
        ("event", "tick 7"),
    ]


def test_extra_fields_keep_their_types_in_json():
    log = Log("json")
    extra = {
        "asset": "orders", "attempt": 2, "assignment": 0.5, "good": True, "nothing": None,
        "payload": {"keys": ["a", 1]}, "pair": (1, 2), "path": Path("a/b"), "name_": "ü€",
    }  # fmt: skip
    log.logger.warning("event", extra=extra)
    line = {key: value for key, value in log.line.items() if key in extra}
    assert line == extra | {"pair": [1, 2], "path": str(Path("a/b"))}


def test_extra_fields_are_keys_and_values():
    log = Log("keyvalue")
    log.logger.info(
        "made it",
        extra={"asset": "orders", "rows": 3, "good": True, "none": None, "keys": ["a b", 1]},
    )
    text = log.stream.getvalue()
    assert text.endswith(
        ' event="made it" asset=orders rows=3 good=true none= keys="[\\"a b\\", 1]"\n'
    )


def test_extra_fields_cannot_replace_own_fields(style):
    log = Log(style)
    names = ("timestamp", "level", "logger", "event")
    log.logger.info("true", extra=dict.fromkeys(names, "forged"))
    line = log.line
    assert [line["level"], line["logger"], line["event"]] == ["info", "flowstone.test", "true"]
    assert {line[f"extra_{name}"] for name in names} == {"forged"}


@given(text=st.text(), key=st.text(min_size=1))
@pytest.mark.parametrize("style", ["keyvalue", "json"])
def test_X12_any_record_is_one_printable_line(style, text, key):
    log = Log(style)
    extra = (
        {}
        if key in vars(logging.makeLogRecord({})) or key in ("message", "asctime")
        else {key: text}
    )
    log.logger.info(text, extra={"field": text, "nested": {key: [text]}, **extra})
    written = log.stream.getvalue()
    assert written.splitlines() == [written.removesuffix("\n")]
    assert not {char for char in written[:-1] if ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0}
    if style == "json":
        assert json.loads(written)["nested"] == {key: [text]}


@pytest.mark.parametrize(
    "forged", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\x1b[2K\r"]
)
def test_X12_record_cannot_forge_another(style, forged):
    log = Log(style)
    lie = f"bad{forged}timestamp=2025-01-15T00:00:00Z level=error event=forged"
    log.logger.info(lie, extra={"x": lie, "d": {"x": lie}})
    assert len(log.lines) == 1
    assert log.line["level"] == "info"


def test_terminal_sequences_are_escaped(style):
    log = Log(style)
    log.logger.info("\x1b[31mred\x1b[0m", extra={"title": "\x1b]0;owned\x07", "turned": "a\u202eb"})
    assert "\x1b" not in log.stream.getvalue()
    assert "\u202e" not in log.stream.getvalue()
    assert log.line["event"] == "red"


def test_no_secret_gets_out(style):
    log = Log(style, redact=Redactor([SECRET, "12345678"]))

    class Holder:
        def __str__(self):
            return f"<{SECRET}>"

    def connect():
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise OSError(f"cannot log in with {SECRET}") from error

    log.logger.info(SECRET)
    log.logger.info("with %s", SECRET)
    log.logger.info("colour", extra={"x": SECRET[:5] + "\x1b[1m" + SECRET[5:]})
    log.logger.info(
        "fields", extra={"x": SECRET, "d": {"k": [SECRET]}, "h": Holder(), "n": 12345678}
    )
    log.logger.info("url", extra={"url": "https://me:other@host/", "mail": "a@b"})
    log.logger.info("cut", extra={"x": "y" * (VALUE_LIMIT - 5) + SECRET + "z" * 100})
    log.logger.info("unreadable %d", SECRET)
    try:
        connect()
    except OSError:
        log.logger.exception("failed")
    text = log.stream.getvalue()
    assert len(log.lines) == 8
    for part in ("hunter2", "of mine", "12345678", "other"):
        assert part not in text
    assert text.count("***") == 11


def test_exception_has_causes_and_places_but_no_source_lines(style):
    log = Log(style)

    def first():
        return {}["missing"]

    try:
        try:
            first()
        except KeyError as error:
            raise OSError("outer") from error
    except OSError:
        log.logger.exception("failed")
    try:
        try:
            first()
        except KeyError:
            raise OSError("bare") from None
    except OSError:
        log.logger.exception("failed")
    caused, bare = (line["exception"] for line in log.lines)
    assert "OSError: outer" in caused
    assert "caused by KeyError: 'missing'" in caused
    assert f"{__file__}:" in caused
    assert "in first" in caused
    assert "return {}" not in caused
    assert "caused by" not in bare


def test_exceptions_that_cause_each_other_end(style):
    log = Log(style)
    one, two = OSError("one"), OSError("two")
    one.__cause__, two.__cause__ = two, one
    log.logger.error("failed", exc_info=one)
    assert log.line["exception"].count("caused by") == 4


def test_exc_info_without_exception_adds_nothing(style):
    log = Log(style)
    log.logger.error("failed", exc_info=True)  # noqa: LOG014 - there is none: that is the test
    assert "exception" not in log.line


class Rude:
    def __str__(self):
        raise RuntimeError("I have no text")

    __repr__ = __str__


def test_unprintable_value_costs_only_itself(style):
    log = Log(style)
    loop = []
    loop.append(loop)
    log.logger.info(
        "shown",
        extra={"rude": Rude(), "nested": [Rude()], "loop": loop, "big": 10**5000, "rows": 3, 7: 8},
    )
    line = log.line
    assert line["event"] == "shown"
    assert str(line["rows"]) == "3"
    assert str(line["7"]) == "8"
    assert line["rude"] == "<cannot be shown: RuntimeError: I have no text>"
    for key in ("nested", "loop", "big"):
        assert line[key].startswith("<cannot be shown: ")


@pytest.mark.parametrize(("message", "args"), [("%d", ("x",)), ("%s %s", (1,)), ("%s", (Rude(),))])
def test_unrenderable_record_is_reported_with_its_place(style, message, args, capsys):
    log = Log(style)
    log.logger.info(message, *args)
    line = log.line
    assert line["event"] == "cannot render a log record"
    assert line["level"] == "error"
    assert line["at"].startswith(f"{__file__}:")
    assert "Error" in line["error"]
    assert capsys.readouterr() == ("", "")


def test_long_values_are_cut(style):
    log = Log(style)
    log.logger.info("x" * (VALUE_LIMIT + 7))
    assert log.line["event"] == "x" * VALUE_LIMIT + " [7 more characters]"


def test_unencodable_character_is_escaped(style):
    raw = io.BytesIO()
    configure(style, stream=io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    logging.getLogger("flowstone.test").info("ü")
    assert b"\\xfc" in raw.getvalue() or b"\\u00fc" in raw.getvalue()


def test_closed_stream_raises_nothing(style, capsys):
    log = Log(style)
    log.stream.close()
    log.logger.info("nobody hears it")
    assert capsys.readouterr() == ("", "")


def test_level_applies_to_own_loggers_others_log_warnings(style):
    log = Log(style, level="debug")
    log.logger.debug("ours")
    logging.getLogger("botocore.auth").info("signed with the key ...")
    logging.getLogger("botocore.auth").warning("theirs")
    assert [line["event"] for line in log.lines] == ["ours", "theirs"]
    quiet = Log(style, level=logging.ERROR)
    quiet.logger.warning("not serious")
    logging.getLogger("botocore").warning("not serious")
    quiet.logger.error("serious")
    assert quiet.line["event"] == "serious"


def test_second_configure_replaces_the_first(style):
    first, second = Log(style), Log(style)
    second.logger.info("once")
    assert first.lines == []
    assert second.line["event"] == "once"


def test_unknown_level_raises_and_changes_nothing(style):
    log = Log(style)
    with pytest.raises(ValueError, match="LOUD"):
        configure(style, "loud", stream=io.StringIO())
    log.logger.info("still")
    assert log.line["event"] == "still"


def test_standard_error_is_the_default(style, capsys):
    configure(style)
    logging.getLogger("flowstone").warning("heard")
    out, err = capsys.readouterr()
    assert out == ""
    assert "heard" in err


def test_structlog_records_are_lines_too(style):
    import structlog

    log = Log(style, redact=Redactor(["hunter2secret"]))
    theirs = structlog.wrap_logger(
        log.logger, processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter]
    )
    theirs.warning("by structlog", rows=3, x="hunter2secret")
    line = log.line
    assert (line["event"], str(line["rows"]), line["x"]) == ("by structlog", "3", "***")


def test_structlog_is_not_imported_before_it_is_used():
    code = "import flowstone_core.cli.log_output, sys; print('structlog' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
