"""Pipeline hooks: the watching hooks that modules of pipelines implement.

An alert needs no package: a function with `hookimpl` in the module of a pipeline is called like
one of a plugin. Such a module can watch and nothing else: what provides things must be known
before pipelines are imported, and is an installed plugin.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pluggy

from flowstone_core.errors import Problem
from flowstone_core.model.safe_text import describe
from flowstone_core.plugin.discovery import find_misfits
from flowstone_core.plugin.registry import PROVIDING, Plugins, new_manager


@dataclass(frozen=True, slots=True)
class PipelineHooks:
    """The plugins together with the watching hooks of the modules of pipelines.

    Attributes:
        problems: Hook implementations that would never be called as they are.
        warnings: Hook implementations that a pipeline cannot have; they are ignored.
    """

    plugins: Plugins
    problems: Sequence[Problem]
    warnings: Sequence[Problem]


def with_pipeline_hooks(plugins: Plugins, modules: Sequence[str]) -> PipelineHooks:
    """Return the plugins and the watching hooks of imported modules together.

    Args:
        plugins: The installed plugins.
        modules: Names of the modules in which pipelines are declared.
    """
    manager = new_manager()
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for name in dict.fromkeys(modules):
        module = sys.modules.get(name)
        if module is None:
            continue
        where = getattr(module, "__file__", None) or name
        try:
            manager.register(module, name=name)
            wrong = [
                Problem(f"invalid hook implementation: {misfit}", where)
                for misfit in find_misfits(manager, module)
            ]
        except BaseException as error:  # noqa: BLE001 - attributes of a module may be anything
            text = " ".join(describe(error).split())
            wrong = [Problem(f"invalid hook implementation: {text}", where)]
        else:
            warnings += _ignored(manager, module, where)
        if wrong or plugins.has_functions_of(manager, module):
            manager.unregister(name=name)
        problems += wrong
    return PipelineHooks(replace(plugins, _pipelines=manager), problems, warnings)


def _ignored(manager: pluggy.PluginManager, module: object, where: str) -> Iterator[Problem]:
    for caller in manager.get_hookcallers(module) or ():
        if caller.name in PROVIDING:
            message = f"hook implementation ignored: a pipeline cannot implement {caller.name!r}"
            yield Problem(message, where, hint="provide it with an installed plugin")
