"""Typed partition: a partition on a command line, and a warning if it is nearly a date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowstone_core.cli.session import Session

if TYPE_CHECKING:
    from flowstone_core.model.partition import Partition


def typed_partition(session: Session, text: str, asset: str | None = None) -> Partition:
    """Parse a partition, and warn of a text that is nearly a date.

    Texts that a schedule of the asset writes by its template are what they look like; so are
    months if the asset has others.

    Raises:
        ValidationError: If a date or a tagged text is invalid.
    """
    from flowstone_core.model.near_date import near_date, near_month
    from flowstone_core.model.partition import parse_partition

    value = parse_partition(text)
    day, month = near_date(text), near_month(text)
    if value != text or (day is None and month is None) or _is_written(session, text, asset):
        return value
    if day is not None:
        session.warn(f"the partition {text!r} is a text, not a date (for the date write {day})")
    elif asset is not None and not _has_months(session, asset):
        session.warn(
            f"the partition {text!r} is a text: a month is not a date "
            f"(for its first day write {month})"
        )
    return value


def _is_written(session: Session, text: str, asset: str | None) -> bool:
    """Return True if a schedule of the asset has a template that writes the text."""
    namings = session.flow().schedules.namings(asset) if asset is not None else []
    return any(each.template is not None and each.template.read(text) for each in namings)


def _has_months(session: Session, asset: str) -> bool:
    from flowstone_core.model.near_date import near_month

    latest = session.flow().materializations.latest(asset=asset, limit=20)
    return any(near_month(each.partition) for each in latest)
