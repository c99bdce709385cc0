"""A bucket, listed whole, over HTTP: signed, sent and retried by botocore, read by `listing`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

from flowstone_core import PollContext
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.connection import aws_session
from flowstone_s3.errors import Place, S3Error, S3UnavailableError, explain, not_s3
from flowstone_s3.listing import ForeignListingError, Page, S3Object, parse_page

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 5
"""How often one request is made at most, within one poll."""

PAGE_SIZE = 1_000
"""Keys in one answer; S3 gives no more."""

_READ = "FlowstonePage"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gave.

    Attributes:
        objects: The objects, folder markers left out.
        at: The server's time when it answered, if it told.
    """

    objects: list[S3Object]
    at: datetime | None


class Bucket:
    """Lists the objects of one bucket.

    The client is made at the first listing, and again after one that failed: renewed credentials
    and changed AWS configuration count without a restart.

    Args:
        config: Where the bucket is and how it is reached.
        context: Its clock tells when a listing has taken too long.
        page_size: Keys in one answer.
        attempts: How often one request is made at most.
    """

    def __init__(
        self,
        config: S3FileArrivalConfig,
        context: PollContext,
        page_size: int = PAGE_SIZE,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._config = config
        self._clock = context.clock
        self._page_size = page_size
        self._attempts = attempts
        self._client: S3Client | None = None
        self._until = 0.0

    def answers(self, prefixes: Iterable[str]) -> Iterator[Answer]:
        """List every object below the prefixes, page by page.

        Raises:
            S3Error: If any page cannot be had; what was given before is then not the whole.
        """
        self._until = self._clock.monotonic() + self._config.poll_timeout.total_seconds()
        for prefix in prefixes:
            for page, at in self._pages(prefix, self._page_size):
                kept = [item for item in page.objects if item.size or not item.key.endswith("/")]
                yield Answer(kept, at)

    def reach(self, prefix: str) -> None:
        """Ask for one key below a prefix.

        Raises:
            S3Error: If it cannot be had.
        """
        self._until = self._clock.monotonic() + self._config.poll_timeout.total_seconds()
        next(self._pages(prefix, 1))

    def close(self) -> None:
        """Close the connections; the next listing opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _pages(self, prefix: str, size: int) -> Iterator[tuple[Page, datetime | None]]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        asked = {"Bucket": self._config.bucket, "Prefix": prefix}
        if self._config.expected_owner is not None:
            asked["ExpectedBucketOwner"] = self._config.expected_owner
        if self._config.requester_pays:
            asked["RequestPayer"] = "requester"
        try:
            if self._client is None:
                self._client = self._connect()
            paginate = cast("Any", self._client.get_paginator("list_objects_v2").paginate)
            for answer in paginate(**asked, PaginationConfig={"PageSize": size}):
                page = self._checked(answer.get(_READ))
                yield page, _date(answer["ResponseMetadata"].get("HTTPHeaders", {}))
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            self.close()
            raise explain(error, self._place()) from error
        except S3Error:
            self.close()
            raise

    def _connect(self) -> S3Client:
        from botocore.config import Config

        seconds = self._config.timeout.total_seconds()
        client = aws_session(self._config).client(
            "s3",
            endpoint_url=self._config.endpoint_url,
            config=Config(
                connect_timeout=seconds,
                read_timeout=seconds,
                retries={"mode": "adaptive", "total_max_attempts": self._attempts},
            ),
        )
        events = client.meta.events
        # To an answer that redirects and names no region, botocore looks the region up with a
        # HEAD; where that is answered the same way, it would do so without end.
        events.register("before-call.s3.HeadBucket", self._refuse_redirect)
        events.register("before-send.s3.ListObjectsV2", self._refuse_late)
        # Its events are botocore's public way in, and this one comes after the request was signed
        # and sent and before the answer is parsed, retried, redirected or raised: all of these go
        # on as they do, and errors, which are left to botocore's own parser, keep their meaning.
        # By asterisks, because so it comes before those of botocore's own: one of them parses the
        # whole page to look for an error in it. In another order it would be as right, and dearer.
        events.register_first("before-parse.*.*", self._read)
        return client

    def _read(
        self, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
    ) -> None:
        body = response_dict["body"]
        if response_dict["status_code"] != 200:
            # A web page is no answer of S3's, and what it declares is not for an XML parser.
            if b"<!doctype" in body[:1_000].lower():
                response_dict["body"] = b""
            return
        try:
            page = parse_page(body)
        except ForeignListingError as error:
            raise S3Error(
                f"the listing {error}: {self._place()}",
                hint="what answers does not speak the S3 protocol as Amazon does; update it, or "
                "check endpoint_url",
            ) from None
        if page is not None:
            customized_response_dict[_READ] = page
            customized_response_dict["IsTruncated"] = page.truncated
            customized_response_dict["NextContinuationToken"] = page.token
            response_dict["body"] = b"<ListBucketResult/>"

    def _refuse_late(self, **_: object) -> None:
        if self._clock.monotonic() > self._until:
            raise S3UnavailableError(
                f"the listing was not complete after poll_timeout: {self._place()}",
                hint="watch a narrower prefix, one with ${year} for example, or raise "
                "poll_timeout, and the sensor's deadline above it; if the server is overloaded, "
                "poll less often",
            )

    def _refuse_redirect(self, **_: object) -> None:
        raise S3Error(
            f"the endpoint redirects elsewhere and does not say where: {self._place()}",
            hint="check endpoint_url, such as https instead of http, and region",
        )

    def _checked(self, page: Page | None) -> Page:
        # botocore would take such an answer for the last page, and the rest would never be seen.
        if page is None or page.truncated is None:
            raise not_s3(self._place())
        if page.truncated and page.token is None:
            raise S3Error(
                f"the answer is cut off and does not say how to go on: {self._place()}",
                hint="the server does not speak version 2 of the listing protocol; update it",
            )
        return page

    def _place(self) -> Place:
        config = self._config
        return Place(config.bucket, config.endpoint_url, config.region, config.expected_owner)


def _date(headers: dict[str, str]) -> datetime | None:
    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        return None
