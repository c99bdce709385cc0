"""S3 polls: a sensor that watches a large prefix, beside boto3 that lists the same keys.

The bucket is a server in a process to itself that only generates its listing.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.framework.benchmark import Arm, Benchmark, Case, Metric, Sample
from benchmarks.framework.span import Span
from flowstone_core import PollContext
from flowstone_core.model.clock import SystemClock

PAGE = 1_000
DAYS = 100
NEWEST = datetime(2025, 4, 10, tzinfo=UTC)
"""The day after the last one that has objects."""
LAST_DAY = NEWEST - timedelta(hours=12)


class Listing(BaseHTTPRequestHandler):
    """Answers each request with a page of objects; each day has the same number of them."""

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


class LastDay(SystemClock):
    """Clock that stands on the last day with objects."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        return LAST_DAY


def serve(objects: int, address: Connection) -> None:
    """Run the server, and send the port that it listens on."""
    Listing.objects = objects
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    address.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def bucket(objects: int) -> Iterator[str]:
    """Give the address of a server with this number of objects."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(objects, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def figures(span: Span, keys: int) -> Sample:
    """Return the figures of one listing."""
    return {"seconds": span.seconds, "cpu": 1e6 * span.cpu / keys}


def flowstone(settings: dict[str, str], case: Case) -> Sample:
    """Poll for the first time, and then measure a poll that finds nothing new."""
    from flowstone_s3 import S3FileArrival

    with bucket(case["keys"]) as address:
        options: dict[str, Any] = {
            "bucket": "shop",
            "endpoint_url": address,
            "region": "us-east-1",
            "access_key": "a",
            "secret_key": "b",
            "poll_timeout": "1d",
        }
        config = S3FileArrival.Config.model_validate(options | settings)
        sensor = S3FileArrival(config, PollContext(clock=LastDay()))
        begin = time.perf_counter()
        state = sensor.poll(sensor.init()).state
        first = time.perf_counter() - begin
        with Span() as span:
            outcome = sensor.poll(state)
        sensor.cleanup()
    return figures(span, case["keys"]) | {
        "first": first,
        "state": len(json.dumps(outcome.state)) / 1e6,
    }


def boto3_pages(case: Case) -> Sample:
    """List every key with boto3's paginator, as a sensor without a parser to itself would."""
    import boto3

    with bucket(case["keys"]) as address:
        session = boto3.session.Session("a", "b", region_name="us-east-1")
        client = session.client("s3", endpoint_url=address)
        client.list_objects_v2(Bucket="shop", MaxKeys=1)
        with Span() as span:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket="shop"):
                for item in page["Contents"]:
                    item["Key"]
        client.close()
    return figures(span, case["keys"])


def bare_requests(case: Case) -> Sample:
    """Receive the same bytes, and look at none of them."""
    with bucket(case["keys"]) as address:
        connection = HTTPConnection(address.removeprefix("http://"))
        with Span() as span:
            for start in range(0, case["keys"], PAGE):
                connection.request("GET", f"/shop?continuation-token={start}")
                connection.getresponse().read()
        connection.close()
    return figures(span, case["keys"])


def _case(keys: int, rounds: int | None = None) -> Case:
    return Case(f"{keys:,} keys", keys, {"keys": keys}, rounds=rounds)


DATED = {"prefix": "orders/${year}-${month}-${day}/"}

BENCHMARK = Benchmark(
    name="s3",
    title="S3 polls",
    about="""
A poll of an S3 prefix that finds nothing new, after a first poll that found every key. The server
is a process beside it that generates its listing, so the seconds are those of that server; CPU is
that of the poll, divided by the number of keys in the bucket. By default a sensor lists every key
and remembers each; with `window = 7d` it lists every key and remembers those of a week; with dates
in `prefix` it lists the newest days only. boto3 lists every key and remembers nothing. The limit
receives the bytes of each page and looks at none of them.""",
    metrics=(
        Metric("cpu", "CPU for each key", "µs"),
        Metric("seconds", "quiet poll", "s", ratio=False),
        Metric("first", "first poll", "s", ratio=False),
        Metric("state", "state", "MB", ratio=False),
    ),
    cases=(_case(1_000), _case(100_000, 3), _case(1_000_000, 1)),
    arms=(
        Arm(
            "flowstone",
            "FlowStone",
            partial(flowstone, {}),
            needs=("flowstone-s3",),
            largest=375_000,
        ),
        Arm(
            "flowstone_window",
            "FlowStone, window = 7d",
            partial(flowstone, {"window": "7d"}),
            needs=("flowstone-s3",),
        ),
        Arm(
            "flowstone_dated",
            "FlowStone, dates in prefix",
            partial(flowstone, DATED),
            needs=("flowstone-s3",),
        ),
        Arm("boto3", "boto3, every key", boto3_pages, "peer", ("boto3",)),
        Arm("requests", "bare requests", bare_requests, "limit"),
    ),
    smoke=(_case(100),),
    x_title="keys in the bucket",
)
