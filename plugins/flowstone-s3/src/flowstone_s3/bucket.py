"""Client that lists a bucket over HTTP: botocore signs, sends and retries, `listing` parses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from flowstone_core import PollContext
from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.connection import aws_client
from flowstone_s3.errors import BucketLocation, S3Error, S3UnavailableError, not_s3, translate_error
from flowstone_s3.listing import ForeignListingError, Page, S3Object, parse_page
from flowstone_s3.transport import RESPONSE_LIMIT, limit_responses

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ATTEMPTS = 5
"""Most attempts of one request, within one poll."""

PAGE_SIZE = 1_000
"""Keys in one response; S3 returns at most 1,000."""

_READ = "FlowstonePage"


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page of a listing, folder markers left out.

    Attributes:
        objects: The objects, folder markers left out.
        at: The server's time when it server_time, if it told.
    """

    objects: list[S3Object]
    at: datetime | None


class Bucket:
    """Bucket client: lists the objects of one bucket.

    The botocore client is created at the first listing, and again after a failed one: renewed
    credentials and changed AWS configuration take effect without a restart.

    Args:
        config: The location of the bucket and the connection settings.
        context: The context whose clock enforces ``poll_timeout``.
        page_size: Keys in one response.
        attempts: Most attempts of one request.
    """

    def __init__(
        self,
        config: S3FileArrivalConfig,
        context: PollContext,
        page_size: int = PAGE_SIZE,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._config = config
        self._context = context
        self._clock = context.clock
        self._page_size = page_size
        self._attempts = attempts
        self._client: S3Client | None = None
        self._endpoint = config.endpoint_url
        self._until = 0.0

    def list_pages(self, prefixes: Iterable[str]) -> Iterator[ListedPage]:
        """List every object below the prefixes, page by page.

        Raises:
            S3Error: If a page cannot be read; the pages yielded before are then incomplete.
        """
        self._until = self._clock.monotonic() + self._config.poll_timeout.total_seconds()
        for prefix in prefixes:
            for page, at in self._pages(prefix, self._page_size):
                kept = [item for item in page.objects if item.size or not item.key.endswith("/")]
                yield ListedPage(kept, at)

    def check_access(self, prefix: str) -> None:
        """Request one key below a prefix.

        Raises:
            S3Error: If the bucket cannot be listed.
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
            raise translate_error(error, self._location()) from error
        except S3Error:
            self.close()
            raise

    def _connect(self) -> S3Client:
        config = self._config
        client = aws_client(config, "s3", region=config.region, attempts=self._attempts)
        # An endpoint may come from the environment or the profile, too.
        self._endpoint = config.endpoint_url or _foreign_endpoint(client.meta.endpoint_url)
        limit_responses(client, self._check_time, self._too_long)
        events = client.meta.events
        # For a redirect without a region, botocore looks the region up with a HEAD request; if
        # that is redirected as well, botocore would repeat it without end.
        events.register("before-call.s3.HeadBucket", self._refuse_redirect)
        # Events are the public extension point of botocore. This one is emitted after the request
        # was signed and sent and before the response is parsed, retried, redirected or raised:
        # all of these stay as they are, and botocore's own parser still reads errors.
        # With asterisks this handler runs before those of botocore, one of which parses the whole
        # page to look for an error in it; in another order the result is the same, but slower.
        events.register_first("before-parse.*.*", self._read)
        return cast("S3Client", client)

    def _read(
        self, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object
    ) -> None:
        body = response_dict["body"]
        if response_dict["status_code"] != 200:
            # A web page is not a response of S3; keep its document type from the XML parser.
            if b"<!doctype" in body[:1_000].lower():
                response_dict["body"] = b""
            return
        try:
            page = parse_page(body)
        except ForeignListingError as error:
            raise S3Error(
                f"the listing {error}: {self._location()}",
                hint="the server does not speak the S3 protocol as Amazon does; update it, or "
                "check endpoint_url",
            ) from None
        if page is not None:
            customized_response_dict[_READ] = page
            customized_response_dict["IsTruncated"] = page.truncated
            customized_response_dict["NextContinuationToken"] = page.token
            response_dict["body"] = b"<ListBucketResult/>"

    def _too_long(self) -> S3Error:
        return S3Error(
            f"the response is longer than {RESPONSE_LIMIT:,} bytes: {self._location()}",
            hint="no page of a listing is as long; check endpoint_url, and the server behind it",
        )

    def _check_time(self) -> None:
        self._context.check_deadline()
        if self._clock.monotonic() > self._until:
            raise S3UnavailableError(
                f"listing incomplete after poll_timeout: {self._location()}",
                hint="watch a narrower prefix, one with ${year} for example, or raise "
                "poll_timeout, and the sensor's deadline above it; if the server is overloaded, "
                "poll less often",
            )

    def _refuse_redirect(self, **_: object) -> None:
        raise S3Error(
            f"the endpoint redirects without a target: {self._location()}",
            hint="check endpoint_url, such as https instead of http, and region",
        )

    def _checked(self, page: Page | None) -> Page:
        # botocore would take such a response for the last page, and the rest would never be seen.
        if page is None or page.truncated is None:
            raise not_s3(self._location())
        if page.truncated and page.token is None:
            raise S3Error(
                f"the listing is truncated without a continuation token: {self._location()}",
                hint="the server does not speak version 2 of the listing protocol; update it",
            )
        return page

    def _location(self) -> BucketLocation:
        config = self._config
        return BucketLocation(config.bucket, self._endpoint, config.region, config.expected_owner)


def _foreign_endpoint(url: str) -> str | None:
    """Return the URL of a server without credentials; None if the server is Amazon's."""
    parts = urlsplit(url)
    host = f".{parts.hostname}"
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws")):
        return None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _date(headers: dict[str, str]) -> datetime | None:
    try:
        at = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, OverflowError):
        return None
    # HTTP knows no other zone; `-0000`, or none, is UTC too.
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
