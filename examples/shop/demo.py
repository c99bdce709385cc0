"""Demo: order files arrive in a bucket, and each day's report is materialized and kept up to date.

Rows of a database trigger a day's returns, a web server names the days whose stock is counted, and
a schedule fires every two seconds for a board that sums up the reports.

``make demo`` starts an S3 server (moto) and a web server on this machine, uploads order files,
starts ``flowstone run``, uploads more files, and shows the results with the commands that you would
use. The results stay in ``examples/shop/.run``.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
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
    from shop.warehouse import warehouse
except ModuleNotFoundError as missing:
    plugin = f"plugins/{missing.name.replace('_', '-')}" if missing.name else ""
    what = plugin if plugin.startswith("plugins/flowstone-") else "'.[demo]'"
    sys.exit(
        f"The demo needs the Python module {missing.name}, which is not installed.\n"
        f"In the folder of the Makefile, run: {sys.executable} -m pip install -e {what}"
    )


BOARD = "sales_board"
"""The asset of the schedule."""


class Report(TypedDict):
    """Part of the metadata of `daily_report` and `sales_board`."""

    orders: int


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
        say("Orders and returns of 13 and 14 January are there before anybody looks.")
        upload(THERE_AT_FIRST)
        returns.note(returns.THERE_AT_FIRST)
        say("Each sensor proves that it reaches its source (flowstone check --connect):")
        flowstone("check", "--connect")
        say("FlowStone starts. Its log:")
        with runner() as process:
            wait_until(process, lambda: is_reported(THERE_AT_FIRST))
            say("Now, while it runs: a late file for 14 January, and the orders of 15 January,")
            upload(ARRIVING_LATER)
            print("    more goods that customers brought back, and 13 January's stock is counted.")
            returns.note(returns.COMING_LATER)
            stock.counted.append(THERE_AT_FIRST[0].day)
            wait_until(process, lambda: is_reported(THERE_AT_FIRST + ARRIVING_LATER))
            wait_until(process, are_others_made)
            say("Every order is in its report; now the schedule's next sum has to have them all.")
            wait_until(process, lambda: is_on_board(THERE_AT_FIRST + ARRIVING_LATER))
            flowstone("schedules", "pause", "sales_board")
            wait_until(process, lambda: all(map(is_completed, made())))
            say("FlowStone is asked to stop (SIGTERM).")
    say("What was made, newest first (flowstone materializations list):")
    flowstone("materializations", "list")
    say("When the schedule would fire next (flowstone schedules next sales_board --count 3):")
    flowstone("schedules", "next", "sales_board", "--count", "3")
    ended = made()
    if any(each["state"] != "completed" for each in ended):
        say("Not all of them are completed: that is a bug.")
        return 1
    say(f"All {len(ended)} are completed. To look around:")
    print(f"    cd {os.path.relpath(HERE)}")
    commands = (
        "sensors list",
        "schedules list",
        "events list",
        "materializations show 1",
        "status",
    )
    for command in commands:
        print(f"    {FLOWSTONE} {command}")
    return 0


def say(text: str) -> None:
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
    process = subprocess.Popen([FLOWSTONE, "run"], cwd=HERE)
    try:
        yield process
    finally:
        process.terminate()
        code = process.wait(timeout=60)
    if code != 0:
        sys.exit(f"flowstone run ended with exit code {code}, see its log above.")


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
        sys.exit("flowstone run ended by itself, see its log above.")
    sys.exit("It takes too long; see the log above, and: flowstone materializations list")


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
