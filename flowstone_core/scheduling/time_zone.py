"""Time zones: IANA names, and the time zone data that this process reads."""

from __future__ import annotations

import logging
import re
import zoneinfo
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from zoneinfo import ZoneInfo

from flowstone_core.errors import ValidationError, did_you_mean
from flowstone_core.model.safe_text import printable

logger = logging.getLogger("flowstone.zone")

_VERSION = re.compile(r"(?:# version )?(\d{4}\w*)\s*$")


@lru_cache
def zone_names() -> frozenset[str]:
    """Return all IANA names, as the package tzdata lists them."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(listed.split()) - {"Factory"}


def load_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Args:
        name: An IANA name, such as ``Europe/Warsaw``; case matters.

    Raises:
        ValidationError: If the name is unknown. Paths and other files of the zone database
            (``posixrules``, ``../UTC``, ``Europe``) are unknown names.
    """
    if not isinstance(name, str) or name not in zone_names():
        hint = did_you_mean(name, zone_names()) if isinstance(name, str) else ""
        shown = printable(repr(name), 80)
        hint = hint or "use an IANA name such as Europe/Warsaw"
        raise ValidationError(f"unknown time zone {shown}: {hint}")
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValidationError(
            f"cannot read the data of time zone {name}: {printable(str(error), 200)}"
        ) from None
    if name != "UTC":
        _log_data()
    return zone


def zone_data() -> str:
    """Return source and version of the time zone data that this process reads.

    The system's data come first, the package tzdata is the fallback. A loaded zone stays as it is
    until the process ends, even if the data are updated.

    Returns:
        Such as ``2025b in /usr/share/zoneinfo``, or ``2025.2 of the package tzdata``.
    """
    for folder in map(Path, zoneinfo.TZPATH):
        if (folder / "UTC").is_file():
            return f"{_version_in(folder)} in {folder}"
    return f"{metadata.version('tzdata')} of the package tzdata"


def _version_in(folder: Path) -> str:
    for name in ("tzdata.zi", "+VERSION"):
        try:
            with (folder / name).open(encoding="utf-8", errors="replace") as file:
                found = _VERSION.match(file.readline(100))
        except OSError:
            continue
        if found is not None:
            return found[1]
    return "an unknown version"


@lru_cache
def _log_data() -> None:
    """Log the data's version once per process: governments change zones at short notice."""
    logger.info("time zones", extra={"data": zone_data()})
