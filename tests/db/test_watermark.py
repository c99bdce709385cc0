from __future__ import annotations

from flowstone_db.watermark import OpenTransactions, Watermark


def now(running: str = "", prepared: str = "") -> OpenTransactions:
    return OpenTransactions(frozenset(running.split()), frozenset(prepared.split()))


def fence(bound: int, running: str = "", prepared: str = "") -> Watermark:
    return Watermark(bound=bound, running=running.split(), prepared=prepared.split())


def test_Q1_where_nothing_is_open_the_bound_can_be_relied_on() -> None:
    assert now().settle(7, None) == (7, None)
    assert now().settle(7, fence(5, "3/1")) == (7, None)


def test_Q1_a_bound_waits_for_all_that_were_open_and_no_others() -> None:
    assert now("3/1 4/1").settle(5, None) == (None, fence(5, "3/1 4/1"))
    assert now("3/1 5/1").settle(6, fence(5, "3/1 4/1")) == (None, fence(5, "3/1"))
    assert now("3/2 5/1").settle(7, fence(5, "3/1")) == (5, fence(7, "3/2 5/1"))


def test_Q1_a_transaction_that_is_prepared_meanwhile_is_still_waited_for() -> None:
    waiting = fence(5, "3/1")
    found, waiting = now("4/1", "gift").settle(6, waiting)  # type: ignore[assignment]
    assert (found, waiting) == (None, fence(5, "", "gift"))
    # Others that are prepared later do not prolong it.
    assert now("4/1", "gift other").settle(7, waiting) == (None, fence(5, "", "gift"))
    assert now("4/1", "other").settle(8, waiting) == (5, fence(8, "4/1", "other"))


def test_Q1_what_is_prepared_at_first_is_waited_for() -> None:
    assert now("", "gift").settle(5, None) == (None, fence(5, "", "gift"))
    assert now("", "gift").settle(6, fence(5, "", "gift")) == (None, fence(5, "", "gift"))
