"""Log output: a handler that writes one line for each record, without secrets.

Everything logs with the standard `logging`; structlog renders the records. Only this module
imports it, when the first line is written: the import costs more than most commands.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias, cast

from flowstone_core.cli.log_writer import LogWriter
from flowstone_core.model.safe_text import describe, describe_traceback, printable

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

LogFormat: TypeAlias = Literal["keyvalue", "json"]

LOGGER = "flowstone"
"""Parent of all of FlowStone's loggers."""

VALUE_LIMIT = 10_000
"""Most characters of one field."""

_CAUSES = 5
# Not fields of ``extra``: other handlers leave the last two on the record.
_NOT_EXTRA = frozenset({"_record", "message", "asctime"})
_NO_KEY = re.compile(r"[^\w.-]+")


def configure(
    format: LogFormat = "keyvalue",  # noqa: A002 - what users call it: --log-format
    level: int | str = logging.INFO,
    redact: Callable[[str], str] = str,
    stream: TextIO | LogWriter | None = None,
    *,
    preload: bool = False,
) -> None:
    """Write log records to a stream, one line each; a second call replaces the first.

    FlowStone's loggers, and those of sensors and asset functions, log from ``level`` on; all
    others from warnings on, because libraries write requests with credentials at lower levels.

    Args:
        format: ``key=value`` pairs, or JSON objects.
        level: The lowest level to log, such as ``INFO``.
        redact: Hides secrets; applied to whole lines.
        stream: Standard error by default; a writer in the background if no line may block.
        preload: Import the renderer now. A process that runs for long needs this: it must be
            able to log that it has run out of file descriptors.

    Raises:
        ValueError: If the level is unknown.
    """
    ours = logging.getLogger(LOGGER)
    ours.setLevel(level.upper() if isinstance(level, str) else level)
    stream = sys.stderr if stream is None else stream
    handler = _LineHandler(stream if isinstance(stream, LogWriter) else LogWriter(stream))
    formatter = _SafeFormatter(partial(_renderer, format, redact), redact)
    if preload:
        formatter.load()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.setLevel(max(ours.level, logging.WARNING))
    for old in list(root.handlers):
        if isinstance(old, _LineHandler):
            root.removeHandler(old)
    root.addHandler(handler)


class _LineHandler(logging.Handler):
    """Writes lines; a record that cannot be formatted leaves a line that reports this."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - such as a renderer without memory
            line = f"flowstone: cannot format a log line: {type(error).__qualname__}"
        self._writer.write(f"{line}\n")


class _SafeFormatter(logging.Formatter):
    """Formats with another formatter, hides secrets, and never raises.

    Args:
        make: Makes the other formatter, when the first line is written.
        redact: Applied to the whole line at the end: a key or a path may hold a secret too.
    """

    def __init__(self, make: Callable[[], logging.Formatter], redact: Callable[[str], str]) -> None:
        super().__init__()
        self._make = make
        self._inner: logging.Formatter | None = None
        self._redact = redact

    def load(self) -> logging.Formatter:
        """Return the other formatter; the handler's lock keeps threads apart."""
        if self._inner is None:
            self._inner = self._make()
        return self._inner

    def format(self, record: logging.LogRecord) -> str:
        inner = self.load()
        try:
            line = inner.format(record)
        except Exception as error:  # noqa: BLE001 - arguments may not fit, or raise anything
            line = inner.format(_unreadable(record, describe(error, self._redact)))
        return self._redact(line)


class _Fields:
    """Reads a record's fields: ours, then those of ``extra``, then the exception.

    Args:
        add_extra: Adds what ``extra`` gave to the record.
        redact: Hides secrets in each value, before anything is quoted or cut.
    """

    def __init__(self, add_extra: Processor, redact: Callable[[str], str]) -> None:
        self._add_extra = add_extra
        self._redact = redact

    def __call__(self, logger: object, method: str, found: EventDict) -> EventDict:
        record: logging.LogRecord = found["_record"]
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: EventDict = {
            "timestamp": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": self._plain(record.name),
            "event": self._plain(found["event"]),
        }
        extra = cast("EventDict", self._add_extra(logger, method, {"_record": record}))
        for key, value in extra.items():
            if key in _NOT_EXTRA:
                continue
            fields[f"extra_{key}" if key in fields else str(key)] = self._plain(value)
        if record.exc_info and record.exc_info[1] is not None:
            fields["exception"] = self._plain(self._exception(record.exc_info[1]))
        return {**fields, "_record": record, "_from_structlog": False}

    def _plain(self, value: object) -> object:
        """Convert any value to one that JSON can represent, without secrets."""
        try:
            if value is None or isinstance(value, int | float | dict | list | tuple):
                text = json.dumps(value, allow_nan=False, default=str, skipkeys=True)
                return _read(self._redact(text))
            # Twice: a terminal sequence may hold a secret apart, a cut may halve it.
            text = printable(str.__str__(str(value)), sys.maxsize)
            return printable(self._redact(text), VALUE_LIMIT)
        except Exception as error:  # noqa: BLE001 - a foreign object may raise anything
            return f"<cannot be shown: {describe(error, self._redact)}>"

    def _exception(self, error: BaseException) -> str:
        """Describe an exception and its causes, without the source lines a traceback shows."""
        parts: list[str] = []
        cause: BaseException | None = error
        while cause is not None and len(parts) < _CAUSES:
            parts.append(f"{describe(cause, self._redact)}\n{describe_traceback(cause)}".strip())
            context = None if cause.__suppress_context__ else cause.__context__
            cause = cause.__cause__ or context
        return "\ncaused by ".join(parts)


def _renderer(format: LogFormat, redact: Callable[[str], str]) -> logging.Formatter:  # noqa: A002
    from structlog.processors import JSONRenderer, LogfmtRenderer
    from structlog.stdlib import ExtraAdder, ProcessorFormatter

    renderers: dict[LogFormat, list[Processor]] = {
        "keyvalue": [_one_line, LogfmtRenderer(bool_as_flag=False)],
        "json": [JSONRenderer()],
    }
    return ProcessorFormatter(
        foreign_pre_chain=[_Fields(ExtraAdder(), redact)],
        processors=[ProcessorFormatter.remove_processors_meta, *renderers[format]],
    )


def _read(text: str) -> object:
    """Parse JSON; return the text itself if redaction broke the JSON."""
    try:
        return cast("object", json.loads(text))
    except ValueError:
        return text


def _one_line(logger: object, method: str, fields: EventDict) -> EventDict:
    """Convert keys to words and values to text; the renderer escapes line ends but not tabs."""
    del logger, method
    line: EventDict = {}
    for key, value in fields.items():
        text = json.dumps(value) if isinstance(value, dict | list) else value
        word = _NO_KEY.sub("_", key) or "_"
        line[word] = text.replace("\t", "\\t") if isinstance(text, str) else text
    return line


def _unreadable(record: logging.LogRecord, error: str) -> logging.LogRecord:
    """Return a record that reports another one as unreadable."""
    return logging.makeLogRecord(
        {
            "name": record.name,
            "levelno": logging.ERROR,
            "levelname": logging.getLevelName(logging.ERROR),
            "created": record.created,
            "msg": "cannot render a log record",
            "at": f"{record.pathname}:{record.lineno}",
            "error": error,
        }
    )
