"""Import strings: ``module:name`` references to the user's code, imported with clear errors."""

from __future__ import annotations

import re
import sys
import traceback
from importlib import import_module
from pathlib import Path

from flowstone_core.errors import Problem, ValidationError, did_you_mean
from flowstone_core.model.safe_text import describe

_REFERENCE = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<name>\w+(?:\.\w+)*)")


def load_reference(text: str, folder: Path, where: str = "", subject: str = "") -> object:
    """Import the object that a reference names, or raise one clear error.

    The folder is put first on ``sys.path`` and stays there, because an imported module may import
    more from the folder later. Only the main thread calls this function, before anything runs.

    Args:
        text: The reference, such as ``shop.pipeline:pipeline``.
        folder: The folder searched for modules before the installed ones.
        where: ``file:line`` of the reference, for errors.
        subject: The setting that holds the reference, for errors.

    Raises:
        ValidationError: If the reference is invalid, the module is missing or fails to import
            (``sys.exit`` included), or has no such name. A ``ValidationError`` raised by the
            module itself passes through unchanged.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        hint = "write module:name, such as shop.pipeline:pipeline"
        if "," in text:
            hint = "write one on each line, without commas"
        raise ValidationError(Problem(f"invalid reference {text!r:.80}", where, subject, hint))
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
        message, hint = _reason(error, text, folder)
        raise ValidationError(Problem(message, where, subject, hint)) from error
    return found


def _reason(error: BaseException, text: str, folder: Path) -> tuple[str, str]:
    """Return a message and a hint for a failed import."""
    module = text.partition(":")[0]
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        hint = f"searched in {folder} and among the installed packages"
        if module.endswith(".py"):
            hint = f"a module is named without .py: {text.replace('.py:', ':')}"
        return f"no module named {error.name!r}", hint
    loaded = sys.modules.get(module)
    if isinstance(error, AttributeError) and loaded is not None and error.obj is loaded:
        name = str(error.name)
        near = did_you_mean(name, (known for known in vars(loaded) if known[0] != "_"))
        return f"module {module!r} has no attribute {name!r}", near
    return f"cannot import {text}: {describe(error)}", _at(error, folder)


def _at(error: BaseException, folder: Path) -> str:
    """Return a hint with the line that raised, preferably one in the user's folder."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"look at {error.filename}:{error.lineno}"
    frames = [
        (frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "importlib" not in Path(frame.filename).parts
    ][1:]
    own = [frame for frame in frames if frame[0].startswith(str(folder))]
    return "look at {}:{}".format(*(own or frames)[-1]) if frames else ""
