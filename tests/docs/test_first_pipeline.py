"""The README's first pipeline: right for late files, requests by hand, and backfills."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import boto3
import pytest

from flowstone_core import Flowstone
from tests.docs.test_documents import blocks_of, s3_server, shop_bucket

__all__ = ["s3_server", "shop_bucket"]

DAY = date(2025, 1, 15)


@pytest.fixture
def flow(shop_bucket: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flowstone]:
    """What the README has a reader write, opened."""
    monkeypatch.chdir(tmp_path)
    for block in blocks_of("README.md"):
        if block.file == "shop.py":
            (tmp_path / "readme_shop.py").write_text(block.text)
        elif block.file == "setup.cfg" and "schedule" not in block.text:
            (tmp_path / "setup.cfg").write_text(block.text.replace("shop:", "readme_shop:"))
    monkeypatch.syspath_prepend(tmp_path)
    with Flowstone(config=tmp_path / "setup.cfg") as opened:
        yield opened
    client = boto3.Session().client("s3")
    client.delete_object(Bucket="shop", Key="orders/2025-01-15/0002.csv")
    client.close()


def orders(flow: Flowstone, asset: str) -> object:
    newest = next(each for each in flow.materializations.latest() if each.asset == asset)
    assert newest.metadata is not None
    return newest.metadata["orders"]


def upload(key: str) -> None:
    client = boto3.Session().client("s3")
    client.put_object(Bucket="shop", Key=key, Body=b"a\nb\nc\n")
    client.close()


def test_N1_late_file_is_added_to_the_files_before(flow: Flowstone) -> None:
    flow.run(once=True)
    before = orders(flow, "daily_report")
    upload("orders/2025-01-15/0002.csv")
    flow.run(once=True)
    assert orders(flow, "raw_orders") == orders(flow, "daily_report") == before + 3  # type: ignore[operator]


def test_N1_request_by_hand_and_backfill_read_the_whole_day(flow: Flowstone) -> None:
    upload("orders/2025-01-15/0002.csv")
    flow.materialize("raw_orders", DAY)
    flow.run(once=True)
    by_hand = orders(flow, "raw_orders")
    assert by_hand == orders(flow, "daily_report")
    flow.backfill("raw_orders", DAY, DAY, force=True)
    assert orders(flow, "raw_orders") == by_hand
