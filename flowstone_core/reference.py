"""A dotted reference, ``module:name``, to something that the user's own code defines."""

from __future__ import annotations

import re
import sys
import traceback
from importlib import import_module
from pathlib import Path

from flowstone_core.errors import Problem, ValidationError, describe, did_you_mean

_REFERENCE = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<name>\w+(?:\.\w+)*)")


def load_reference(text: str, folder: Path, where: str = "", subject: str = "") -> object:
    """Import what a reference names; whatever goes wrong is one clear error.

    The folder is put first on ``sys.path`` and stays there, because what is imported may import
    more from it later. Only the main thread calls this, before anything runs.

    Args:
        text: Such as ``shop.pipeline:pipeline``.
        folder: Where modules are looked for before the installed ones.
        where: ``file:line`` of the reference, for errors.
        subject: What refers to it, for errors.

    Raises:
        ValidationError: If the text is no reference, the module is missing or fails to import,
            by ``sys.exit`` too, or has no such name. A ``ValidationError`` of the module itself
            comes through as it is.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        hint = "write module:name, such as shop.pipeline:pipeline"
        raise ValidationError(Problem(f"{text!r:.80} is no reference", where, subject, hint))
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module, names = match["module"], match["name"].split(".")
    try:
        found: object = import_module(module)
        for name in names:
            found = getattr(found, name)
    except (ValidationError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ValidationError(_problem(error, module, text, folder, where, subject)) from error
    return found


def _problem(
    error: BaseException, module: str, text: str, folder: Path, where: str, subject: str
) -> Problem:
    if (
        isinstance(error, ModuleNotFoundError)
        and error.name
        and f"{module}.".startswith(f"{error.name}.")
    ):
        hint = f"it was looked for in {folder} and among what is installed"
        return Problem(f"there is no module {error.name!r}", where, subject, hint)
    loaded = sys.modules.get(module)
    if isinstance(error, AttributeError) and loaded is not None and error.obj is loaded:
        name = str(error.name)
        near = did_you_mean(name, (known for known in vars(loaded) if known[0] != "_"))
        return Problem(f"{module} has nothing named {name!r}", where, subject, near)
    return Problem(f"{module} cannot be imported: {describe(error)}", where, subject, _at(error))


def _at(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"look at {error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<", __file__))]
    own = [frame for frame in own if "importlib" not in Path(frame.filename).parts]
    return f"look at {own[-1].filename}:{own[-1].lineno}" if own else ""
