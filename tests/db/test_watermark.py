from __future__ import annotations

from flowstone_db.watermark import OpenTransactions, Watermark


def now(running: str = "", prepared: str = "") -> OpenTransactions:
    return OpenTransactions(frozenset(running.split()), frozenset(prepared.split()))


def fence(bound: int, running: str = "", prepared: str = "") -> Watermark:
    return Watermark(bound=bound, running=running.split(), prepared=prepared.split())


def test_Q1_watermark_without_open_transactions_is_settled() -> None:
    assert now().settle(7, None) == (7, None)
    assert now().settle(7, fence(5, "3/1")) == (7, None)


def test_Q1_watermark_waits_for_earlier_transactions_only() -> None:
    assert now("3/1 4/1").settle(5, None) == (None, fence(5, "3/1 4/1"))
    assert now("3/1 5/1").settle(6, fence(5, "3/1 4/1")) == (None, fence(5, "3/1"))
    assert now("3/2 5/1").settle(7, fence(5, "3/1")) == (5, fence(7, "3/2 5/1"))


def test_Q1_watermark_waits_for_newly_prepared_transaction() -> None:
    waiting = fence(5, "3/1")
    found, waiting = now("4/1", "gift").settle(6, waiting)  # type: ignore[assignment]
    assert (found, waiting) == (None, fence(5, "", "gift"))
    # Others that are prepared later do not prolong it.
    assert now("4/1", "gift other").settle(7, waiting) == (None, fence(5, "", "gift"))
    assert now("4/1", "other").settle(8, waiting) == (5, fence(8, "4/1", "other"))


def test_Q1_watermark_waits_for_prepared_transaction() -> None:
    assert now("", "gift").settle(5, None) == (None, fence(5, "", "gift"))
    assert now("", "gift").settle(6, fence(5, "", "gift")) == (None, fence(5, "", "gift"))
