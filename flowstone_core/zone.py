"""Time zones by their IANA names, and what their changes of offset do to times on the wall.

The rules are Debian cron's (cron(8), "Notes"): a job at a fixed time runs once each day, right
after a gap that its time fell into and in the first pass of a time that comes twice; a job with
``*`` for its hour or minute follows elapsed time.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

from flowstone_core.errors import ValidationError, did_you_mean, printable


@lru_cache
def zone_names() -> frozenset[str]:
    """Return the IANA names there are, as the package tzdata lists them."""
    listed = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8")
    return frozenset(listed.split()) - {"Factory"}


def load_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Args:
        name: An IANA name, such as ``Europe/Warsaw``, as it is spelt in the database: letters
            count, small or capital.

    Raises:
        ValidationError: If there is none of this name. Names that are paths or files of the zone
            database (``posixrules``, ``../UTC``, ``Europe``) are none.
    """
    if not isinstance(name, str) or name not in zone_names():
        hint = did_you_mean(name, zone_names()) if isinstance(name, str) else ""
        shown = printable(repr(name), 80)
        hint = hint or "use an IANA name such as Europe/Warsaw"
        raise ValidationError(f"there is no time zone {shown}: {hint}")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValidationError(
            f"the data of time zone {name} cannot be read: {printable(str(error), 200)}"
        ) from None
