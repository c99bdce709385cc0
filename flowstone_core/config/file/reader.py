"""Configuration reader: FlowStone's sections of ``setup.cfg`` and ``flowstone.cfg``, with lines.

The reader knows no settings of sensors. It keeps its problems beside the sections that it could
read, so that `flowstone_core.config.validation` reports everything at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from flowstone_core.config.file import ini
from flowstone_core.config.file.interpolation import MALFORMED, Interpolation, expand
from flowstone_core.config.file.section import (
    COLON,
    INVALID_LINE,
    INVALID_NAME,
    Section,
    Setting,
    Swallowed,
    is_known,
    is_near,
    nearest,
    plain_key,
    split_name,
    title,
    without_value,
)
from flowstone_core.config.file.text_file import read_text, shown_path
from flowstone_core.config.run_settings import RunSettings
from flowstone_core.errors import Problem, ValidationError
from flowstone_core.model.redaction import MASK, Redactor, looks_secret
from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.scheduling.settings import ScheduleSettings

SHARED_FILE = "setup.cfg"
"""The file that other tools, setuptools among them, read as well."""
OWN_FILE = "flowstone.cfg"
LINE_LIMIT = 10_000
"""The most characters a line of FlowStone's sections may have."""

_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LOOKS_SET = re.compile(r"([a-z][a-z0-9_]{0,63})\s*=")
_INDENTED_HEADER = re.compile(r"\s+\[\s*([A-Za-z][^\[\]]*)\]\s*")
# The time configparser takes for a line grows with the square of a run of blanks in it.
_BLANKS = re.compile(r"\s{200}")
# The text after "//user:" up to the end of the line, unless it is a port.
_AFTER_USER = re.compile(r"//[^\s:/@\[]*:(?!\d*(?:[/?#,\s]|$))(.+)")
_PARAMETER = re.compile(r"(?:^|[?&;\s])([\w.-]+)=([^\s&;]+)", re.MULTILINE)
_LINE = re.compile(r"^([\w.-]+)[ \t]*=[ \t]*(\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Config:
    """Content of a configuration file.

    Attributes:
        file: The file, or None.
        run: The ``[flowstone]`` section, or None.
        sensors: Each sensor's name and its section.
        schedules: Each schedule's name and its section.
        problems: The errors; `flowstone_core.config.validation.validate` raises them.
        warnings: Findings that do not prevent a run.
    """

    file: Path | None = None
    run: Section | None = None
    sensors: tuple[tuple[str, Section], ...] = ()
    schedules: tuple[tuple[str, Section], ...] = ()
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def empty(self) -> bool:
        """True if the file has no section of FlowStone, valid or not."""
        return self.run is None and not (self.sensors or self.schedules or self.problems)


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read a configuration file.

    Args:
        path: The file; None for ``setup.cfg`` in the current folder or, if that is missing or has
            no section for FlowStone, ``flowstone.cfg``.
        environ: The variables for ``${NAME}``.

    Returns:
        The content and its problems; an empty one if ``path`` is None and there is no file.

    Raises:
        ValidationError: If the given file is missing, or a file cannot be read as text.
    """
    if path is not None:
        config = _load(path, environ)
        if config is None:
            hint = f"without a file name, {SHARED_FILE} and {OWN_FILE} are read"
            raise ValidationError(Problem("file not found", shown_path(path), hint=hint))
        return config
    found = [config for name in (SHARED_FILE, OWN_FILE) if (config := _load(Path(name), environ))]
    speaking = [config for config in found if not config.empty]
    if len(speaking) < 2:
        return (speaking or found or [Config()])[0]
    ignored = Problem(
        f"file ignored: {SHARED_FILE} has sections for FlowStone",
        OWN_FILE,
        hint="keep all sections in one file, or choose the file with --config",
    )
    return replace(speaking[0], warnings=(*speaking[0].warnings, ignored))


def hidden_in_urls(text: str) -> Iterator[str]:
    """Yield the passwords of the URLs and connection strings in a text, invalid ones included."""
    for match in _AFTER_USER.finditer(text):
        # An '@' may be part of the password or of the text after the host, or be missing.
        first, at, _ = match[1].partition("@")
        for found in filter(None, {first, match[1].rpartition("@")[0] if at else first}):
            yield from (found, unquote(found))
    for name, value in _PARAMETER.findall(text):
        if looks_secret(name):
            yield value
            yield unquote(value)


def _load(path: Path, environ: Mapping[str, str]) -> Config | None:
    return None if (text := read_text(path)) is None else _Reading(path, environ).config(text)


class _Reading:
    """One pass over one file, which collects sections, problems and warnings."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self.file = shown_path(path)
        self.environ = environ
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.sections: dict[tuple[str, ...], Section] = {}

    def config(self, text: str) -> Config:
        """Read the whole text."""
        first, *blocks = ini.cut(text)
        for line, _ in islice(first.numbered(), 1):
            hint = "a section begins with [NAME]"
            self._problem(line, "", "line before the first section", hint)
        for block in blocks:
            self._block(block)
        self._glued(ini.glued_headers(text))
        run = self.sections.pop(("flowstone",), None)
        return Config(
            self.path,
            run,
            self._named("sensor"),
            self._named("schedule"),
            tuple(self.problems),
            tuple(self.warnings),
        )

    def _named(self, kind: str) -> tuple[tuple[str, Section], ...]:
        return tuple(
            (name[-1], section) for name, section in self.sections.items() if name[1] == kind
        )

    def _problem(self, line: int, subject: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(message, f"{self.file}:{line}", subject, hint))

    def _warning(self, line: int, subject: str, message: str, hint: str) -> None:
        self.warnings.append(Problem(message, f"{self.file}:{line}", subject, hint))

    def _glued(self, headers: Iterable[tuple[int, str, str]]) -> None:
        for line, header, key_below in headers:
            name = split_name(header)
            if is_known(name) and name not in self.sections and key_below in _known_keys():
                message = "section header is not at the start of its line, so it begins no section"
                self._problem(line, title(header), message, "write it on a separate line")

    def _block(self, block: ini.Block) -> None:
        block = replace(block, header=without_value(block.header))
        name, subject = split_name(block.header), title(block.header)
        if is_known(name):
            self._own_section(block, name, subject)
            return
        list(self._indented_headers(block, subject))
        if is_near(block.header):
            self._problem(block.line, subject, "unknown section", nearest(block.header))
        elif block.header == "DEFAULT":
            self._default_section(block)

    def _own_section(self, block: ini.Block, name: tuple[str, ...], subject: str) -> None:
        if not block.closed:
            self._problem(block.line, subject, "missing closing ']'")
        elif block.rest:
            message = "text after the ']' is ignored"
            self._problem(block.line, subject, message, "settings begin on the line below")
        block = block.without([*self._indented_headers(block, subject)])
        block = block.without([*self._unreadable(block, subject)])
        settings = self._settings(block, subject)
        if name in self.sections:
            hint = f"first declared on line {self.sections[name].line}"
            self._problem(block.line, subject, "duplicate section", hint)
        else:
            self.sections[name] = Section(block.header, block.line, settings, self.file)

    def _default_section(self, block: ini.Block) -> None:
        ours = _known_keys() & {line.partition("=")[0].strip() for _, line in block.numbered()}
        if ours:
            message = f"{', '.join(sorted(ours))} has no effect in FlowStone"
            hint = "[DEFAULT] is not applied: write each setting in its section"
            self._warning(block.line, "[DEFAULT]", message, hint)

    def _indented_headers(self, block: ini.Block, subject: str) -> Iterator[int]:
        ours = is_known(split_name(block.header))
        for line, text in block.numbered():
            match = _INDENTED_HEADER.fullmatch(text) if text[0].isspace() else None
            if match is None:
                continue
            # In a value, [id] may be SQL; with a colon or a dot it is probably a header.
            if is_near(match[1]) or (ours and re.search(r"\w[:.]\w", match[1])):
                message = f"indented section header is part of {subject}"
                inner = title(without_value(match[1].strip()))
                self._problem(line, inner, message, "remove the blanks before it")
                yield line

    def _unreadable(self, block: ini.Block, subject: str) -> Iterator[int]:
        for line, text in block.numbered():
            if len(text) > LINE_LIMIT:
                self._problem(line, subject, f"line is longer than {LINE_LIMIT} characters")
                yield line
            elif _BLANKS.search(text.strip()):
                self._problem(line, subject, "line has 200 blanks in a row")
                yield line

    def _settings(self, block: ini.Block, subject: str) -> Mapping[str, Setting]:
        options, wrong = ini.read(block)
        lines = dict(block.numbered())
        for line in wrong:
            hint = "only indented lines continue a value"
            if ini.has_colon(lines.get(line, "")):
                hint = f"{COLON}; {hint}"
            self._problem(line, subject, INVALID_LINE, hint)
        settings: dict[str, Setting] = {}
        for option in options:
            key = option.key if _KEY.fullmatch(option.key) else plain_key(option.key)
            if not _KEY.fullmatch(key) or ((other := settings.get(key)) and other.written):
                message, hint = INVALID_NAME
                hint = COLON if ini.has_colon(option.key) else hint
                self._problem(option.line, subject, message, hint)
            elif other is not None:
                where, hint = f"{subject} {key}", f"first set on line {other.line}"
                self._problem(option.line, where, "duplicate setting", hint)
            else:
                named = option if key == option.key else replace(option, key=key)
                setting = self._setting(named, f"{subject} {key}")
                settings[key] = setting if named is option else replace(setting, written=option.key)
        return settings

    def _setting(self, option: ini.Option, subject: str) -> Setting:
        expansion = expand(option.value, self.environ)
        for name in expansion.unset:
            hint = f"set it, or write ${{{name}:-default}}"
            self._problem(option.line, subject, f"environment variable {name} is not set", hint)
        if expansion.malformed:
            self._problem(option.line, subject, *MALFORMED)
        if expansion.lone_percent and self.path.name == SHARED_FILE:
            message = "a lone '%' breaks setuptools, which reads this file too"
            self._warning(option.line, subject, message, "write '%%', which means '%'")
        secrets = tuple(filter(None, _secrets(option.key, expansion)))
        shown = MASK if looks_secret(option.key) else Redactor(secrets)(expansion.shown)
        swallowed = tuple(_swallowed(option))
        odd = (option.continued, tuple(option.oddities))
        return Setting(expansion.value, option.line, shown, secrets, swallowed, *odd)


def _secrets(key: str, expansion: Interpolation) -> Iterable[str]:
    if looks_secret(key):
        yield expansion.value
    yield from hidden_in_urls(expansion.value)
    for name, value in _LINE.findall(expansion.value):
        # A setting indented by mistake is a line of the value above it.
        if looks_secret(name):
            yield value
    for name, value in expansion.taken.items():
        # A short value with a harmless name, such as ENV=prod, would be masked in other words.
        if len(value) >= 8 or looks_secret(name.lower()):
            yield value


def _known_keys() -> set[str]:
    models = (RunSettings, SensorSettings, ScheduleSettings)
    return {key for model in models for key in model.model_fields} | {"type", "asset", "cron"}


def _swallowed(option: ini.Option) -> Iterable[Swallowed]:
    for index, (line, text) in enumerate(option.below):
        match = _LOOKS_SET.match(text)
        if match is not None:
            yield Swallowed(match[1], line, likely=index == 0 or not option.begins_below)
