"""Scaffold: writes plugin projects from a template, the plugin ``flowstone-acme``."""

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
"""Prefix of the name of every plugin's distribution."""

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_TYPE = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_TOKEN = re.compile(r"flowstone[-_]acme|acme_files|AcmeFiles|acme")
# Installers and version control would treat the template's own hidden files as theirs.
_HIDDEN = "dot-"


@dataclass(frozen=True, slots=True)
class Plugin:
    """Names of a new plugin.

    Attributes:
        name: The name of the plugin and of its entry point.
        type: The ``type`` of its sensor in the configuration.
    """

    name: str
    type: str

    @property
    def distribution(self) -> str:
        """The name of the distribution."""
        return PREFIX + self.name

    @property
    def package(self) -> str:
        """The name of the package."""
        return self.distribution.replace("-", "_")

    @property
    def sensor_class(self) -> str:
        """The name of its sensor's class."""
        return "".join(word.capitalize() for word in self.type.split("_"))


def name_plugin(name: str, sensor_type: str | None = None) -> Plugin:
    """Derive the names of a plugin.

    Args:
        name: Such as ``acme`` or ``flowstone-acme``.
        sensor_type: The type of its sensor; derived from the name by default.

    Raises:
        ValidationError: If a name is invalid; lists every problem.
        ConflictError: If a distribution of that name is installed.
    """
    short = name.lower().replace("_", "-").removeprefix(PREFIX)
    kind = sensor_type if sensor_type is not None else f"{short.replace('-', '_')}_files"
    problems = []
    if not _NAME.fullmatch(short) or len(short) > 60:
        hint = f"use letters, digits and '-', beginning with a letter, such as {PREFIX}acme"
        problems.append(Problem(f"invalid plugin name {name!r:.80}", hint=hint))
    elif not _TYPE.fullmatch(kind) or keyword.iskeyword(kind) or len(kind) > 80:
        hint = "use small letters, digits and '_', beginning with a letter, such as acme_files"
        problems.append(Problem(f"invalid sensor type {kind!r:.80}", hint=hint))
    if problems:
        raise ValidationError(problems)
    plugin = Plugin(short, kind)
    try:
        installed = version(plugin.distribution)
    except PackageNotFoundError:
        return plugin
    message = f"duplicate distribution {plugin.distribution}: {installed} is installed"
    raise ConflictError(message, hint="choose another name, or uninstall it")


def write_plugin(plugin: Plugin, folder: Path) -> list[Path]:
    """Write a plugin project that can be installed and whose tests pass.

    Args:
        plugin: The names.
        folder: The parent of the project's folder, which is called like the distribution.

    Returns:
        The files, in order.

    Raises:
        ConflictError: If the folder exists; nothing was written.
    """
    target = folder / plugin.distribution
    if target.exists():
        hint = "choose another folder with --into, or move this one; nothing was written"
        raise ConflictError(f"folder exists: {target}", hint=hint)
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
