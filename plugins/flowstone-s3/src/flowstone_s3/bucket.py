"""A bucket, listed whole, over HTTP; made of the client of boto3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from flowstone_s3.config import S3FileArrivalConfig
from flowstone_s3.connection import aws_session
from flowstone_s3.errors import Place, S3Error, explain, not_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ObjectTypeDef

ATTEMPTS = 3
"""How often one request is made at most, within one poll."""

PAGE_SIZE = 1_000
"""Keys in one answer; S3 gives no more."""


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object as a listing shows it; its key is exactly what it was uploaded as."""

    key: str
    etag: str
    size: int
    last_modified: datetime


class Bucket:
    """Lists the objects of one bucket.

    The client is made at the first listing, and again after one that failed: renewed credentials
    and changed AWS configuration count without a restart.

    Args:
        config: Where the bucket is and how it is reached.
        page_size: Keys in one answer.
        attempts: How often one request is made at most.
    """

    def __init__(
        self, config: S3FileArrivalConfig, page_size: int = PAGE_SIZE, attempts: int = ATTEMPTS
    ) -> None:
        self._config = config
        self._page_size = page_size
        self._attempts = attempts
        self._client: S3Client | None = None

    def objects(self) -> Iterator[S3Object]:
        """List every object below the prefix, page by page, folder markers left out.

        Raises:
            S3Error: If any page cannot be had; what was given before is then not the whole.
        """
        for page in self._pages():
            for item in page.get("Contents", ()):
                found = self._object(item)
                if not (found.key.endswith("/") and found.size == 0):
                    yield found

    def close(self) -> None:
        """Close the connections; the next listing opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _pages(self) -> Iterator[ListObjectsV2OutputTypeDef]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            if self._client is None:
                self._client = self._connect()
            for page in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._config.bucket,
                Prefix=self._config.prefix,
                PaginationConfig={"PageSize": self._page_size},
            ):
                self._check(page)
                yield page
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            self.close()
            raise explain(error, self._place()) from error

    def _connect(self) -> S3Client:
        from botocore.config import Config

        config = self._config
        seconds = config.timeout.total_seconds()
        client = aws_session(config).client(
            "s3",
            endpoint_url=config.endpoint_url,
            config=Config(
                connect_timeout=seconds,
                read_timeout=seconds,
                retries={"mode": "standard", "total_max_attempts": self._attempts},
            ),
        )
        # To an answer that redirects and names no region, botocore looks the region up with a
        # HEAD; where that is answered the same way, it would do so without end.
        client.meta.events.register("before-call.s3.HeadBucket", self._refuse_redirect)
        return client

    def _refuse_redirect(self, **_: object) -> None:
        raise S3Error(
            f"the endpoint redirects elsewhere and does not say where: {self._place()}",
            hint="check endpoint_url, such as https instead of http, and region",
        )

    def _check(self, page: ListObjectsV2OutputTypeDef) -> None:
        # botocore would take such an answer for the last page, and the rest would never be seen.
        # Neither would it mind an answer without anything that it knows: an empty bucket.
        if "IsTruncated" not in page:
            raise not_s3(self._place())
        if page["IsTruncated"] and not page.get("NextContinuationToken"):
            raise S3Error(
                f"the answer is cut off and does not say how to go on: {self._place()}",
                hint="the server does not speak version 2 of the listing protocol; update it",
            )

    def _object(self, item: ObjectTypeDef) -> S3Object:
        try:
            return S3Object(
                item["Key"], item["ETag"].strip('"'), item["Size"], item["LastModified"]
            )
        except KeyError as error:
            raise S3Error(
                f"the listing gives no {error.args[0]} for {item.get('Key')!r:.200}: "
                f"{self._place()}",
                hint="what answers does not speak the S3 protocol as Amazon does; update it",
            ) from None

    def _place(self) -> Place:
        return Place(self._config.bucket, self._config.endpoint_url, self._config.region)
