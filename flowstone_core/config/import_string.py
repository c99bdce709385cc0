"""A dotted reference, ``module:name``, to something that the user's own code defines."""

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
        message, hint = _reason(error, text, folder)
        raise ValidationError(Problem(message, where, subject, hint)) from error
    return found


def _reason(error: BaseException, text: str, folder: Path) -> tuple[str, str]:
    """Say what was wrong, and what to do."""
    module = text.partition(":")[0]
    if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
        hint = f"it was looked for in {folder} and among what is installed"
        return f"there is no module {error.name!r}", hint
    loaded = sys.modules.get(module)
    if isinstance(error, AttributeError) and loaded is not None and error.obj is loaded:
        name = str(error.name)
        near = did_you_mean(name, (known for known in vars(loaded) if known[0] != "_"))
        return f"{module} has nothing named {name!r}", near
    return f"{text} cannot be imported: {describe(error)}", _at(error, folder)


def _at(error: BaseException, folder: Path) -> str:
    """Point at the line that raised: the user's own, if it is one of theirs."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"look at {error.filename}:{error.lineno}"
    frames = [
        (frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and "importlib" not in Path(frame.filename).parts
    ][1:]
    own = [frame for frame in frames if frame[0].startswith(str(folder))]
    return "look at {}:{}".format(*(own or frames)[-1]) if frames else ""
