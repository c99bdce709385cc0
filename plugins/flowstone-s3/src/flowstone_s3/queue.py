"""Client of an SQS queue: receives, deletes, hides and sends messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from flowstone_core import PollContext
from flowstone_s3.connection import aws_client
from flowstone_s3.errors import S3Error
from flowstone_s3.queue_config import S3EventQueueConfig
from flowstone_s3.queue_errors import QueueLocation, not_sqs, translate_queue_error
from flowstone_s3.transport import RESPONSE_LIMIT, limit_responses

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from mypy_boto3_sqs import SQSClient

T = TypeVar("T")

ATTEMPTS = 3
"""Most attempts of one request."""

BATCH = 10
"""Messages in one request; SQS takes no more."""

VISIBILITY_LIMIT = 12 * 60 * 60 - 60
"""Seconds: SQS hides a message for at most 12 hours after it was received."""


@dataclass(frozen=True, slots=True)
class Message:
    """A received message, hidden from other consumers for its visibility timeout.

    Attributes:
        handle: The receipt handle, which deletes the message or hides it longer.
    """

    id: str
    handle: str
    body: str = field(repr=False)


class Queue:
    """Queue client: one queue, and the queue that its rejects are moved to.

    The botocore client is created at the first request, and again after a failed one: renewed
    credentials and changed AWS configuration take effect without a restart.

    Args:
        config: The URL of the queue and the connection settings.
        context: The context whose deadline ends requests.
    """

    def __init__(self, config: S3EventQueueConfig, context: PollContext) -> None:
        self._config = config
        self._context = context
        self._client: SQSClient | None = None

    def receive(self) -> Iterator[Message]:
        """Receive messages until ``max_messages`` is reached or the queue is empty.

        Only the first request waits for a message.

        Raises:
            S3Error: If the queue cannot be read; messages received before become visible again.
        """
        wait = int(self._config.wait.total_seconds())
        left = self._config.max_messages
        while left > 0:
            found = self._receive(min(left, BATCH), wait)
            yield from found
            left, wait = left - len(found), 0
            if not found:
                return

    def delete(self, handles: Sequence[str]) -> int:
        """Delete messages by their handles.

        Returns:
            The number of messages that could not be deleted: the handle has expired because the
            message has become visible again, and will be received once more.

        Raises:
            S3Error: If the queue cannot be used.
        """
        failed = 0
        for batch in _batches(handles):
            entries = [{"Id": str(n), "ReceiptHandle": each} for n, each in enumerate(batch)]
            with self._errors(self._config.queue_url) as client:
                answer = client.delete_message_batch(
                    QueueUrl=self._config.queue_url,
                    Entries=entries,  # type: ignore[arg-type]  # dicts of exactly these keys
                )
            failed += len(answer.get("Failed", ()))
        return failed

    def hide(self, messages: Sequence[Message]) -> None:
        """Hide messages for `VISIBILITY_LIMIT` seconds.

        Raises:
            S3Error: If the queue cannot be used.
        """
        for batch in _batches(messages):
            entries = [
                {"Id": str(n), "ReceiptHandle": each.handle, "VisibilityTimeout": VISIBILITY_LIMIT}
                for n, each in enumerate(batch)
            ]
            with self._errors(self._config.queue_url) as client:
                client.change_message_visibility_batch(
                    QueueUrl=self._config.queue_url,
                    Entries=entries,  # type: ignore[arg-type]  # dicts of exactly these keys
                )

    def reject(self, url: str, message: Message, reason: str) -> None:
        """Send a copy of a message to another queue, with the reason as an attribute.

        Raises:
            S3Error: If the other queue cannot be used.
        """
        attributes = {
            "flowstone_reason": {"DataType": "String", "StringValue": reason},
            "flowstone_message_id": {"DataType": "String", "StringValue": message.id},
        }
        with self._errors(url) as client:
            client.send_message(
                QueueUrl=url,
                MessageBody=message.body,
                MessageAttributes=attributes,  # type: ignore[arg-type]  # as above
            )

    def check_access(self) -> None:
        """Request the queue's ARN, which changes nothing.

        Raises:
            S3Error: If the queue cannot be used.
        """
        for url in filter(None, (self._config.queue_url, self._config.rejects_queue_url)):
            with self._errors(url) as client:
                client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _receive(self, count: int, wait: int) -> list[Message]:
        with self._errors(self._config.queue_url) as client:
            answer = client.receive_message(
                QueueUrl=self._config.queue_url,
                MaxNumberOfMessages=count,
                WaitTimeSeconds=wait,
                VisibilityTimeout=int(self._config.visibility.total_seconds()),
            )
        return [
            Message(each["MessageId"], each["ReceiptHandle"], each["Body"])
            for each in answer.get("Messages", ())
        ]

    @contextmanager
    def _errors(self, url: str) -> Iterator[SQSClient]:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            if self._client is None:
                self._client = self._connect()
            yield self._client
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            self.close()
            raise translate_queue_error(error, self._location(url)) from error

    def _location(self, url: str) -> QueueLocation:
        return QueueLocation(url, self._config.endpoint_url, self._config.queue_region)

    def _connect(self) -> SQSClient:
        config = self._config
        client = aws_client(config, "sqs", region=config.queue_region, attempts=ATTEMPTS)
        limit_responses(client, self._context.check_deadline, self._too_long)
        client.meta.events.register("after-call.sqs", self._check)
        return cast("SQSClient", client)

    def _too_long(self) -> S3Error:
        return S3Error(
            f"the response is longer than {RESPONSE_LIMIT:,} bytes: "
            f"{self._location(self._config.queue_url)}",
            hint="no response of SQS is as long; check endpoint_url, and the server behind it",
        )

    def _check(self, http_response: AWSResponse, **_: object) -> None:
        # botocore takes a response that is not JSON, such as a web page, for an empty one: a
        # queue without messages, or a message that was moved.
        if http_response.status_code < 300 and not http_response.content.lstrip().startswith(b"{"):
            raise not_sqs(self._location(self._config.queue_url))


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
