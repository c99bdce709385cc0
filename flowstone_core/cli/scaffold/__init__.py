"""New plugins, written from a template that is a plugin itself: ``flowstone-acme``."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from flowstone_core.errors import ConflictError, Problem, ValidationError

PREFIX = "flowstone-"
"""What the name of every plugin's distribution begins with."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_TYPE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_TOKEN = re.compile(r"flowstone[-_]acme|acme_files|AcmeFiles|acme")
# Installers and version control would treat the template's own hidden files as theirs.
_HIDDEN = "dot-"


@dataclass(frozen=True, slots=True)
class Plugin:
    """The names of a new plugin.

    Attributes:
        name: What its author calls it; the entry point's name.
        type: What configuration writes as ``type`` for its sensor.
    """

    name: str
    type: str

    @property
    def distribution(self) -> str:
        """What is installed."""
        return PREFIX + self.name

    @property
    def package(self) -> str:
        """What is imported."""
        return self.distribution.replace("-", "_")

    @property
    def sensor_class(self) -> str:
        """The name of its sensor's class."""
        return "".join(word.capitalize() for word in self.type.split("_"))


def name_plugin(name: str, sensor_type: str | None = None) -> Plugin:
    """Name a plugin and all that is in it.

    Args:
        name: Such as ``acme`` or ``flowstone-acme``.
        sensor_type: What its sensor is called; made of the name by default.

    Raises:
        ValidationError: If one of the names cannot be used; lists everything that is wrong.
        ConflictError: If a distribution of that name is installed.
    """
    short = name.lower().replace("_", "-").removeprefix(PREFIX)
    kind = sensor_type if sensor_type is not None else f"{short.replace('-', '_')}_files"
    problems = []
    if not _NAME.fullmatch(short) or len(short) > 60:
        hint = f"use letters, digits and '-', beginning with a letter, such as {PREFIX}acme"
        problems.append(Problem(f"{name!r:.80} is no name for a plugin", hint=hint))
    elif not _TYPE.fullmatch(kind) or keyword.iskeyword(kind) or len(kind) > 80:
        hint = "use small letters, digits and '_', beginning with a letter, such as acme_files"
        problems.append(Problem(f"{kind!r:.80} is no name for a sensor type", hint=hint))
    if problems:
        raise ValidationError(problems)
    plugin = Plugin(short, kind)
    try:
        installed = version(plugin.distribution)
    except PackageNotFoundError:
        return plugin
    message = f"there is a distribution {plugin.distribution} already: {installed} is installed"
    raise ConflictError(message, hint="give the new one another name, or uninstall it")


def write_plugin(plugin: Plugin, folder: Path) -> list[Path]:
    """Write a plugin that can be installed, and whose tests pass.

    Args:
        folder: Where its folder, named like the distribution, is made.

    Returns:
        The files, in order.

    Raises:
        ConflictError: If something is there already; nothing is written then.
    """
    target = folder / plugin.distribution
    if target.exists():
        hint = "name another folder by --into, or move it away; nothing was written"
        raise ConflictError(f"{target} is there already", hint=hint)
    template = files("flowstone_core.cli.scaffold") / "flowstone-acme"
    return sorted(_write(template, target, plugin))


def _write(source: Traversable, target: Path, plugin: Plugin) -> list[Path]:
    if source.is_file():
        target.write_text(_named(source.read_text("utf-8"), plugin), "utf-8")
        return [target]
    target.mkdir(parents=True)
    written = []
    for entry in source.iterdir():
        if entry.name != "__pycache__":
            name = _named(entry.name, plugin)
            if name.startswith(_HIDDEN):
                name = "." + name.removeprefix(_HIDDEN)
            written += _write(entry, target / name, plugin)
    return written


def _named(text: str, plugin: Plugin) -> str:
    names = {
        "flowstone-acme": plugin.distribution,
        "flowstone_acme": plugin.package,
        "acme_files": plugin.type,
        "AcmeFiles": plugin.sensor_class,
        "acme": plugin.name,
    }
    return _TOKEN.sub(lambda match: names[match[0]], text)
