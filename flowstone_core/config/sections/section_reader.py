"""Section reader: one section's settings as input for a pydantic model, without its secrets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

import pydantic

from flowstone_core.config.file.section import INVALID_NAME, Section, Setting, meant_key
from flowstone_core.config.model_fields import takes_list
from flowstone_core.errors import Problem, did_you_mean
from flowstone_core.model.redaction import Redactor, looks_secret


class SectionReader:
    """Reads the settings of one section for one model.

    Args:
        section: The section.
        model: The model that validates the values.
        known: The keys that the section may have, those read elsewhere included.
        exclude: Keys to leave out of the values because they are read elsewhere.

    Attributes:
        values: The texts by key, as the model takes them; a list has one item per line.
        places: ``file:line`` of each setting.
        strays: Unknown keys that may be the value of an empty secret above them, each with its
            problem; they are not among the values.
        swallowed: A problem for each setting that is indented, and so part of the value above it,
            and for each whose name is written in another way.
    """

    def __init__(
        self,
        section: Section,
        model: type[pydantic.BaseModel],
        known: Collection[str],
        exclude: Collection[str] = (),
    ) -> None:
        self.strays = dict(_strays(section, known))
        self.swallowed = [*_swallowed(section, model, known), *_misnamed(section, known)]
        meant = {
            key: meant_key(key, known) if setting.written else key
            for key, setting in section.settings.items()
        }
        self.places: Mapping[str, str] = {
            name or key: section.where(key) for key, name in meant.items()
        }
        self.values: dict[str, object] = {
            name: _lines(setting.value) if takes_list(model, name) else setting.value
            for key, setting in section.settings.items()
            if (name := meant[key]) and name not in exclude and key not in self.strays
        }

    @property
    def problems(self) -> list[Problem]:
        """Everything that is wrong with the section before its values are validated."""
        return [*self.strays.values(), *self.swallowed]


def refine(problems: Iterable[Problem], section: Section) -> list[Problem]:
    """Return the problems without secrets, and with a hint at each line indented by mistake.

    A value that holds another setting's line is not reported too: one problem is enough.
    """
    found = list(problems)
    places = {problem.where for problem in found}
    misread, hints = set(), defaultdict(list)
    for key, setting in section.settings.items():
        if places & {f"{section.file}:{inner.line}" for inner in setting.swallowed}:
            misread.add(section.where(key))
        elif setting.continued:
            hint = f"line {setting.continued} is indented, so it continues this value"
            hints[section.where(key)].append(hint)
        hints[section.where(key)] += (f"{what}: {how}" for what, how in setting.oddities)
    return conceal(
        (
            replace(problem, hint="; ".join(filter(None, [problem.hint, *hints[problem.where]])))
            for problem in found
            if problem.where not in misread
        ),
        section,
    )


def conceal(problems: Iterable[Problem], section: Section) -> list[Problem]:
    """Remove the secret parts of the section's values from the problems with them."""
    secret = {
        section.where(key): setting for key, setting in section.settings.items() if setting.secret
    }
    return [
        replace(problem, message=_concealed(problem.message, secret[problem.where]))
        if problem.where in secret and not problem.quotes_nothing
        else problem
        for problem in problems
    ]


def _strays(section: Section, known: Collection[str]) -> Iterator[tuple[str, Problem]]:
    above = ""
    for key, setting in section.settings.items():
        odd = key not in known and not setting.written
        if odd and looks_secret(above) and not section.settings[above].value:
            message = f"{above!r} is empty, and this unknown setting may be its value (not shown)"
            hint = "only indented lines continue a value"
            yield key, Problem(message, f"{section.file}:{setting.line}", section.title, hint)
        above = key


def _swallowed(
    section: Section, model: type[pydantic.BaseModel], known: Collection[str]
) -> Iterator[Problem]:
    for key, setting in section.settings.items():
        for inner in setting.swallowed:
            if inner.key in known and (inner.likely or takes_list(model, key)):
                yield Problem(
                    f"indented line is part of the value of {key!r}, not a setting",
                    f"{section.file}:{inner.line}",
                    f"{section.title} {inner.key}",
                    f"remove the blanks before it; if it does belong to {key!r}, begin that value "
                    "on the line below its key",
                )


def _misnamed(section: Section, known: Collection[str]) -> Iterator[Problem]:
    """Yield a problem for each key in other letters; only one that is a setting's is shown."""
    for key, setting in section.settings.items():
        if not setting.written:
            continue
        where, meant = f"{section.file}:{setting.line}", meant_key(key, known)
        if meant is not None:
            subject = f"{section.title} {setting.written}"
            yield Problem("unknown setting", where, subject, f"did you mean {meant!r}?")
        else:
            message, hint = INVALID_NAME
            near = did_you_mean(key, known)
            yield Problem(message, where, section.title, f"{near} {hint}" if near else hint)


def _concealed(message: str, setting: Setting) -> str:
    message = Redactor(setting.secrets)(message.replace(setting.value, setting.shown))
    # A message may quote a part of the value only, which no redactor knows.
    for secret in setting.secrets:
        if any(secret[start : start + 4] in message for start in range(len(secret) - 3)):
            return "invalid value (hidden: it is secret, or comes from the environment)"
    return message


def _lines(value: str) -> list[str]:
    return [stripped for line in value.split("\n") if (stripped := line.strip())]
