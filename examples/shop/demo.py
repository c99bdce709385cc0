"""The demo: order files arrive in a bucket, and each day's report is made and kept up to date.

Beside it rows of a database make a day's returns due, a web server says for which days stock is
counted, and a schedule fires every two seconds for a board that sums up the reports.

``make demo`` runs it. It starts an S3 server of its own (moto) and a web server on this machine,
uploads order files, runs ``flowstone run`` beside it, uploads some more, and looks at what became
of it all with the same commands that you would use. Everything is left in ``examples/shop/.run``.
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
    # Needed by the runner: better missed here than there.
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
"""The asset that the schedule is for."""


class Report(TypedDict):
    """What `daily_report` and `sales_board` return, as far as it matters here."""

    orders: int


class Materialization(TypedDict):
    """What ``flowstone materializations list --json`` says of one, as far as it matters here."""

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
    """Have an S3 server over HTTP, and its address and keys in the environment."""
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
    """Have `flowstone run` beside this process; end it gracefully."""
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
    """Look until it is done: sixty times at most, half a second apart."""
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
    """Say whether the newest report of each day has all orders of its files, and nothing runs."""
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
    """Say whether what the database and the warehouse told of is made."""
    made_of = {(each["asset"], each["partition_shown"]) for each in made() if is_completed(each)}
    days = {f"{day}" for day, _ in returns.THERE_AT_FIRST + returns.COMING_LATER}
    return made_of >= {("returned_goods", day) for day in days} | {("stock", "2025-01-13")}


def is_completed(each: Materialization) -> bool:
    """Say whether one is done."""
    return each["state"] == "completed"


def is_on_board(files: Iterable[OrderFile]) -> bool:
    """Say whether a board that the schedule asked for has all orders of the files."""
    boards = [each for each in made() if each["asset"] == BOARD and is_completed(each)]
    total = sum(orders_by_day(files).values())
    return any(each["metadata"]["orders"] == total for each in boards)


def orders_by_day(files: Iterable[OrderFile]) -> dict[str, int]:
    """Count the orders of files that count, for each day."""
    found: dict[str, int] = {}
    for file in files:
        orders = len(list(clean(file.content.decode())))
        found[str(file.day)] = found.get(str(file.day), 0) + orders
    return found


def flowstone(*arguments: str) -> None:
    """Run a command of FlowStone's, as you would."""
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
