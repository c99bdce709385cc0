"""Demo: order files arrive in a bucket, and each day's report is materialized and kept up to date.

Rows of a database trigger a day's returns, a web server names the days whose stock is counted, and
a schedule fires every two seconds for a board that sums up the reports.

``make demo`` starts an S3 server (moto) and a web server on this machine, uploads order files,
starts ``flowstone run``, uploads a late file, and shows the reports before and after. The results
and the log stay in ``examples/shop/.run``.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

HERE = Path(__file__).resolve().parent
RUN = HERE / ".run"
FLOWSTONE = Path(sys.executable).with_name("flowstone")

try:
    # The runner needs them: fail here, with a hint.
    import flowstone_db  # noqa: F401
    import flowstone_http  # noqa: F401
    import flowstone_s3  # noqa: F401
    from moto.server import ThreadedMotoServer
    from shop import returns
    from shop.bucket import BUCKET, connect
    from shop.orders import ARRIVING_LATER, THERE_AT_FIRST, OrderFile
    from shop.pipeline import clean
    from shop.warehouse import Warehouse, warehouse
except ModuleNotFoundError as missing:
    plugin = f"plugins/{missing.name.replace('_', '-')}" if missing.name else ""
    what = plugin if plugin.startswith("plugins/flowstone-") else "'.[demo]'"
    sys.exit(
        f"The demo needs the Python module {missing.name}, which is not installed.\n"
        f"In the folder of the Makefile, run: {sys.executable} -m pip install -e {what}"
    )


LOG = RUN / "flowstone.log"
BOARD = "sales_board"
"""The asset of the schedule."""
LATE = f"{ARRIVING_LATER[0].day}"
"""The day that is reported already when another file of it arrives."""


class Report(TypedDict):
    """Metadata of `daily_report`; `sales_board` has the orders only."""

    orders: int
    revenue: str
    best_seller: str


class Materialization(TypedDict):
    """Part of an object of ``flowstone materializations list --json``."""

    asset: str
    partition_shown: str
    state: str
    metadata: Report


def main() -> int:
    """Run the demo; return the exit code."""
    if not FLOWSTONE.exists():
        sys.exit(f"There is no {FLOWSTONE}: run `make demo` in the folder of the Makefile.")
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir()
    with s3_server(), warehouse() as stock:
        os.environ["SHOP_STOCK_URL"] = stock.url
        connect().create_bucket(Bucket=BUCKET)
        heading("Three order files are in the bucket before FlowStone starts.")
        upload(THERE_AT_FIRST)
        returns.note(returns.THERE_AT_FIRST)
        heading(f"FlowStone starts: flowstone run (its log: {os.path.relpath(LOG)})")
        with runner() as process:
            narrate(process, stock)
            heading("FlowStone is asked to stop, and finishes what is running.")
    heading("All reports that were materialized, newest first: flowstone materializations list")
    flowstone("materializations", "list", "--asset", "daily_report")
    if not all(map(is_completed, made())):
        heading("Not every materialization is completed: this is a bug.")
        return 1
    heading(f"To look around: cd {os.path.relpath(HERE)}")
    for command in ("status", "sensors list", "explain new_orders", "events list"):
        print(f"    {FLOWSTONE} {command}")
    return 0


def narrate(process: subprocess.Popen[bytes], stock: Warehouse) -> None:
    """Print each step while FlowStone runs."""
    wait_until(process, lambda: is_reported(THERE_AT_FIRST))
    before = reports()
    heading("The sensor has found them, and each day has its report:")
    show(before)
    heading("A late file for 14 January arrives, and the orders of 15 January.")
    upload(ARRIVING_LATER)
    returns.note(returns.COMING_LATER)
    stock.counted.append(THERE_AT_FIRST[0].day)
    wait_until(process, lambda: is_reported(THERE_AT_FIRST + ARRIVING_LATER))
    after = reports()
    heading("14 January is materialized again, because its orders changed; 13 January is not:")
    show({f"{LATE} before": before[LATE], f"{LATE} after": after[LATE]})
    show({day: report for day, report in after.items() if day not in before})
    wait_until(process, are_others_made)
    heading("Rows of a database counted the returned goods, and a web server named a day of stock.")
    wait_until(process, lambda: is_on_board(THERE_AT_FIRST + ARRIVING_LATER))
    total = sum(report["orders"] for report in after.values())
    heading(
        f"A schedule sums up the reports every two seconds; its board now has all {total} orders."
    )
    flowstone("schedules", "pause", BOARD)
    wait_until(process, lambda: all(map(is_completed, made())))


def reports() -> dict[str, Report]:
    """Return the newest report of each day."""
    daily = [each for each in reversed(made()) if each["asset"] == "daily_report"]
    found = {each["partition_shown"]: each["metadata"] for each in daily if is_completed(each)}
    return dict(sorted(found.items()))


def show(shown: Mapping[str, Report]) -> None:
    """Print reports, a line each."""
    for name, report in shown.items():
        orders, revenue, best = report["orders"], report["revenue"], report["best_seller"]
        print(f"    {name:<17}  {orders} orders, revenue {revenue:>7}, best seller: {best}")


def heading(text: str) -> None:
    """Print a line that stands out from the log."""
    print(f"\n==> {text}", flush=True)


@contextmanager
def s3_server() -> Iterator[None]:
    """Run an S3 server, with its address and keys in the environment."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ["SHOP_S3_URL"] = f"http://{host}:{port}"
    os.environ |= dict.fromkeys(("SHOP_ACCESS_KEY", "SHOP_SECRET_KEY"), "any-will-do")
    os.environ |= dict.fromkeys(("NO_PROXY", "no_proxy"), host)
    try:
        yield
    finally:
        server.stop()


@contextmanager
def runner() -> Iterator[subprocess.Popen[bytes]]:
    """Run `flowstone run` beside this process, and stop it gracefully."""
    with LOG.open("wb") as log:
        process = subprocess.Popen([FLOWSTONE, "run"], cwd=HERE, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        code = process.wait(timeout=60)
    if code != 0:
        sys.exit(f"flowstone run ended with exit code {code}, see {LOG}.")


def upload(files: Iterable[OrderFile]) -> None:
    """Put order files into the bucket."""
    s3 = connect()
    for file in files:
        s3.put_object(Bucket=BUCKET, Key=file.key, Body=file.content)
        print(f"    uploaded s3://{BUCKET}/{file.key}", flush=True)


def wait_until(process: subprocess.Popen[bytes], done: Callable[[], bool]) -> None:
    """Check every half second until it is done, at most sixty times."""
    for _ in range(60):
        if done():
            return
        try:
            process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            continue
        sys.exit(f"flowstone run ended by itself, see {LOG}.")
    sys.exit(f"It takes too long, see {LOG} and: flowstone materializations list")


def is_reported(files: Iterable[OrderFile]) -> bool:
    """Return True if the newest report of each day has all orders and nothing is unfinished."""
    reported: dict[str, int] = {}
    for each in reversed(made()):
        if each["asset"] not in {"raw_orders", "daily_report"}:
            continue
        if each["state"] != "completed":
            return False
        if each["asset"] == "daily_report":
            reported[each["partition_shown"]] = each["metadata"]["orders"]
    return reported == orders_by_day(files)


def are_others_made() -> bool:
    """Return True if the days of the database and of the warehouse are materialized."""
    made_of = {(each["asset"], each["partition_shown"]) for each in made() if is_completed(each)}
    days = {f"{day}" for day, _ in returns.THERE_AT_FIRST + returns.COMING_LATER}
    return made_of >= {("returned_goods", day) for day in days} | {("stock", "2025-01-13")}


def is_completed(each: Materialization) -> bool:
    """Return True if a materialization is completed."""
    return each["state"] == "completed"


def is_on_board(files: Iterable[OrderFile]) -> bool:
    """Return True if a board of the schedule has all orders of the files."""
    boards = [each for each in made() if each["asset"] == BOARD and is_completed(each)]
    total = sum(orders_by_day(files).values())
    return any(each["metadata"]["orders"] == total for each in boards)


def orders_by_day(files: Iterable[OrderFile]) -> dict[str, int]:
    """Count the valid orders of the files for each day."""
    found: dict[str, int] = {}
    for file in files:
        orders = len(list(clean(file.content.decode())))
        found[str(file.day)] = found.get(str(file.day), 0) + orders
    return found


def flowstone(*arguments: str) -> None:
    """Run a FlowStone command."""
    subprocess.run([FLOWSTONE, *arguments], cwd=HERE, check=True)


def made() -> list[Materialization]:
    """Return all materializations, newest first."""
    command = [str(FLOWSTONE), "materializations", "list", "--limit", "1000", "--json"]
    ended = subprocess.run(command, cwd=HERE, check=False, stdout=subprocess.PIPE)
    if ended.returncode != 0:
        sys.exit("flowstone materializations list failed, see above.")
    found: list[Materialization] = json.loads(ended.stdout)
    return found


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
