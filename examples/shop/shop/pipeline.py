"""Pipeline of the shop: for each day cleaned orders, a report, returns and stock."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TypedDict

from pydantic import BaseModel

from flowstone_core import Context, Pipeline
from shop.bucket import BUCKET, PREFIX, connect
from shop.returns import count

OUTPUT = Path(__file__).resolve().parents[1] / ".run"

pipeline = Pipeline("shop")


class ArrivedObject(BaseModel):
    """Part of the description of one object."""

    key: str


class Arrival(BaseModel):
    """The payload of an event of `s3_file_arrival`."""

    objects: list[ArrivedObject]


class Order(TypedDict):
    """A cleaned order."""

    order: int
    item: str
    quantity: int
    amount: str


@pipeline.asset
def raw_orders(context: Context) -> dict[str, int]:
    """Read a day's new order files, and keep the orders that count."""
    s3 = connect()
    files = orders = 0
    for key in sorted(new_keys(context)):
        content = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        cleaned = list(clean(content.decode()))
        # One file for each object: reading an object again, as a retry may, counts nothing twice.
        name = key.removeprefix(PREFIX).removesuffix(".csv")
        write_json(OUTPUT / "orders" / f"{name}.json", cleaned)
        files, orders = files + 1, orders + len(cleaned)
        context.logger.info("cleaned %s: %d orders", key, len(cleaned))
    return {"files": files, "orders": orders}


@pipeline.asset(depends_on=["raw_orders"], follow=True)
def daily_report(context: Context) -> dict[str, int | str]:
    """Sum up all orders of a day."""
    sold: Counter[str] = Counter()
    revenue, orders = Decimal(0), 0
    for path in sorted((OUTPUT / "orders" / f"{context.partition}").glob("*.json")):
        day_orders: list[Order] = json.loads(path.read_text("utf-8"))
        for order in day_orders:
            sold[order["item"]] += order["quantity"]
            revenue += Decimal(order["amount"])
            orders += 1
    report: dict[str, int | str] = {"orders": orders, "revenue": f"{revenue:.2f}"}
    report["best_seller"] = max(sold, key=sold.__getitem__, default="")
    write_json(OUTPUT / "reports" / f"{context.partition}.json", report)
    return report


@pipeline.asset
def returned_goods(context: Context) -> dict[str, int]:
    """Count what customers brought back on a day."""
    assert isinstance(context.partition, date)  # noqa: S101 - as `day_of` makes it
    return {"returned": count(context.partition)}


def order_goods(context: Context) -> dict[str, str]:
    """Order what the counted stock lacks; a sensor runs it by `on_trigger`."""
    write_json(OUTPUT / "goods" / f"{context.partition}.json", {"ordered": context.run_id})
    return {"ordered": f"{context.partition}"}


@pipeline.asset
def sales_board(context: Context) -> dict[str, int | str]:
    """Sum up the reports, for the board in the office, at points in time."""
    days, orders = 0, 0
    for path in (OUTPUT / "reports").glob("*.json"):
        report: dict[str, int | str] = json.loads(path.read_text("utf-8"))
        days, orders = days + 1, orders + int(report["orders"])
    board: dict[str, int | str] = {"as_of": f"{context.partition}", "days": days, "orders": orders}
    write_json(OUTPUT / "board.json", board)
    return board


def new_keys(context: Context) -> set[str]:
    """Return the keys of the objects that arrived; of all of the day when asked for by hand."""
    arrivals = [Arrival.model_validate(payload) for payload in context.payloads]
    if arrivals and len(arrivals) == len(context.events):
        return {found.key for arrival in arrivals for found in arrival.objects}
    listing = connect().list_objects_v2(Bucket=BUCKET, Prefix=f"{PREFIX}{context.partition}/")
    return {found["Key"] for found in listing.get("Contents", [])}


def clean(text: str) -> Iterable[Order]:
    """Yield the orders of a CSV file, without those that were cancelled."""
    for row in csv.DictReader(io.StringIO(text)):
        quantity = int(row["quantity"])
        if quantity > 0:
            amount = quantity * Decimal(row["price"])
            yield Order(
                order=int(row["order"]), item=row["item"], quantity=quantity, amount=str(amount)
            )


def write_json(path: Path, value: object) -> None:
    """Write a file so that each reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(value, indent=1), "utf-8")
    unfinished.replace(path)
