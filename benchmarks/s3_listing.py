"""Benchmark of a poll of a large S3 prefix: parsing by expat and by botocore, time, and state.

    python benchmarks/s3_listing.py [--objects 1000000]

The bucket is a server in a separate process that only generates its listing.
First the CPU time of one page of 1,000 keys, by botocore's own parser and by ours: the parser
alone, then with the rest of a botocore request. Then polls of the whole prefix:
with the default, which remembers every object, as many as it may; with ``window``; with dates in
``prefix``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import boto3
from botocore.parsers import create_parser
from botocore.session import get_session
from flowstone_s3 import S3FileArrival
from flowstone_s3.listing import parse_page
from flowstone_s3.seen_objects import OBJECT_LIMIT

from flowstone_core import PollContext

PAGE = 1_000
DAYS = 100
NEWEST = datetime(2025, 4, 10, tzinfo=UTC)
"""The day after the last one that has objects."""


class Listing(BaseHTTPRequestHandler):
    """Answers each request with a page of objects, as many on each of so many days."""

    protocol_version = "HTTP/1.1"
    objects = 0

    def do_GET(self) -> None:
        """ListedPage."""
        query = {name: each[0] for name, each in parse_qs(urlsplit(self.path).query).items()}
        first, last = 0, self.objects
        _, _, day = query.get("prefix", "").partition("/")
        if day:
            ordinal = DAYS - (NEWEST - datetime.fromisoformat(f"{day.strip('/')}T00Z")).days
            first = ordinal * self.objects // DAYS
            last = (ordinal + 1) * self.objects // DAYS
        start = int(query.get("continuation-token", first))
        end = min(start + int(query.get("max-keys", PAGE)), last)
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < last else ""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>shop</Name>{token}<EncodingType>url</EncodingType>"
            f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
            f"{''.join(self._entry(number) for number in range(start, end))}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def _entry(self, number: int) -> str:
        assignment = number * DAYS // self.objects
        day = NEWEST - timedelta(days=DAYS - assignment)
        return (
            f"<Contents><Key>orders/{day:%Y-%m-%d}/part-{number:08}.csv</Key>"
            f"<LastModified>{day:%Y-%m-%d}T12:00:00.000Z</LastModified>"
            f"<ETag>&quot;{number:032x}&quot;</ETag><Size>12345</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
        )


def serve(objects: int, address: Connection) -> None:
    """Run the server, and send the port that it listens on."""
    Listing.objects = objects
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    address.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def bucket(objects: int) -> Iterator[dict[str, Any]]:
    """Give the settings of a sensor that watches so many objects."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(objects, theirs), daemon=True)
    process.start()
    yield {
        "bucket": "shop",
        "endpoint_url": f"http://127.0.0.1:{ours.recv()}",
        "region": "us-east-1",
        "access_key": "a",
        "secret_key": "b",
        "poll_timeout": "1d",
    }
    process.kill()
    process.join()


def parser_cpu(options: dict[str, Any], times: int = 30) -> tuple[float, float]:
    """Return the CPU milliseconds of the parser alone, for a page, by botocore's and by ours."""
    with urlopen(f"{options['endpoint_url']}/shop?max-keys={PAGE}") as answer:  # noqa: S310 - ours
        body = answer.read()
    shape = get_session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
    assert shape is not None  # noqa: S101 - it has one
    parser = create_parser("rest-xml")

    def botocore() -> None:
        # It takes the answer apart, so it gets one of its own each time.
        parser.parse({"body": body, "headers": {}, "status_code": 200}, shape)

    def lean() -> None:
        parse_page(body)

    best = []
    for parse in (botocore, lean):
        took = []
        for _ in range(times):
            before = time.process_time()
            parse()
            took.append(time.process_time() - before)
        best.append(1_000 * min(took))
    return best[0], best[1]


def page_cpu(options: dict[str, Any], pages: int) -> tuple[float, float]:
    """Return the CPU milliseconds of a page, by botocore and by ours; nothing is remembered."""
    client = boto3.session.Session("a", "b", region_name="us-east-1").client(
        "s3", endpoint_url=options["endpoint_url"]
    )
    sensor = S3FileArrival(S3FileArrival.Config.model_validate(options | {"suffix": "none"}))
    sensor.connect()
    client.list_objects_v2(Bucket="shop", MaxKeys=1)
    before = time.process_time()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="shop"):
        assert len(page["Contents"]) == PAGE  # noqa: S101 - a benchmark of nothing says nothing
    botocore = time.process_time() - before
    client.close()
    before = time.process_time()
    sensor.poll(sensor.init())
    ours = time.process_time() - before
    sensor.cleanup()
    return 1_000 * botocore / pages, 1_000 * ours / pages


def polls(title: str, options: dict[str, Any], at: datetime) -> None:
    """Poll for the first time and again, and print what it took."""

    class Clock(type(PollContext().clock)):  # type: ignore[misc]
        def now(self) -> datetime:
            return at

    sensor = S3FileArrival(S3FileArrival.Config.model_validate(options), PollContext(clock=Clock()))
    state, figures, events = sensor.init(), [], 0
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = sensor.poll(state)
        figures += [time.perf_counter() - wall, time.process_time() - cpu]
        events = events or len(getattr(outcome, "events", ()))
        state = outcome.state
    sensor.cleanup()
    print(
        f"{title:<34} first {figures[0]:6.1f} s ({figures[1]:5.1f} s CPU), {events:,} events;"
        f" quiet {figures[2]:6.1f} s ({figures[3]:5.1f} s CPU); state {len(json.dumps(state)):,} B"
    )


def main() -> None:
    """Measure, and print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--objects", type=int, default=1_000_000)
    objects = parser.parse_args().objects
    last_day = NEWEST - timedelta(hours=12)
    with bucket(50 * PAGE) as options:
        for title, (botocore, lean) in (
            ("parsed alone", parser_cpu(options)),
            ("asked for, received and read", page_cpu(options, 50)),
        ):
            print(
                f"a page of {PAGE:,} keys, {title}: botocore {botocore:.1f} ms of CPU,"
                f" lean {lean:.1f} ms, ratio {botocore / lean:.1f}"
            )
    known = min(objects, OBJECT_LIMIT)
    with bucket(known) as options:
        polls(f"{known:,} objects, default", options, last_day)
    with bucket(objects) as options:
        polls(f"{objects:,} objects, window = 7d", options | {"window": "7d"}, last_day)
        dated = {"prefix": "orders/${year}-${month}-${day}/"}
        polls(f"{objects:,} objects, dated prefix", options | dated, last_day)


if __name__ == "__main__":
    main()
