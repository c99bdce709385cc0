"""Order files of the shop's tills in CSV, the same in each run."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from shop.bucket import PREFIX

PRICES = {"tea": Decimal("4.50"), "coffee": Decimal("7.90"), "mug": Decimal("12.00")}


@dataclass(frozen=True)
class OrderFile:
    """Sales of one till up to one closing.

    Attributes:
        day: The day of the orders: the partition they belong to.
        number: Counts the files of a day.
        orders: Number of orders. The last one is cancelled: its quantity is 0.
    """

    day: date
    number: int
    orders: int

    @property
    def key(self) -> str:
        """The object's key; FlowStone finds the partition in it."""
        return f"{PREFIX}{self.day}/till-{self.number}.csv"

    @property
    def content(self) -> bytes:
        """The file, in CSV."""
        text = io.StringIO()
        lines = csv.writer(text)
        lines.writerow(["order", "item", "quantity", "price"])
        items = list(PRICES)
        for index in range(self.orders):
            item = items[(index + self.number + self.day.day) % len(items)]
            quantity = 0 if index == self.orders - 1 else 1 + index % 3
            lines.writerow([self.number * 1000 + index, item, quantity, PRICES[item]])
        return text.getvalue().encode()


THERE_AT_FIRST = (
    OrderFile(date(2025, 1, 13), number=1, orders=40),
    OrderFile(date(2025, 1, 13), number=2, orders=25),
    OrderFile(date(2025, 1, 14), number=1, orders=30),
)
"""In the bucket before FlowStone starts."""

ARRIVING_LATER = (
    OrderFile(date(2025, 1, 14), number=2, orders=15),
    OrderFile(date(2025, 1, 15), number=1, orders=50),
    OrderFile(date(2025, 1, 15), number=2, orders=20),
)
"""Uploaded while FlowStone runs; the first one belongs to a day that is already reported."""
