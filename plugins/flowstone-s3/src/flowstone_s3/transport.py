"""Transport of a botocore client: sends its requests, and reads responses within limits.

botocore reads a response until it ends, and would read one without an end until memory is gone.
Here each response is read piece by piece: it has a size limit, and the deadline of the poll counts
between any two pieces, so no thread goes on reading for a poll that was given up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.client import BaseClient

RESPONSE_LIMIT = 16 * 1024 * 1024
"""Most bytes of a response: 1,000 keys of 1,024 bytes take a third of this, however encoded."""

_PIECE = 64 * 1024


def limit_responses(
    client: BaseClient, check: Callable[[], None], too_long: Callable[[], Exception]
) -> None:
    """Limit the responses of a client.

    Responses are not decompressed, neither here nor by botocore, which asks for none compressed.

    Args:
        client: The client, before its first request.
        check: Raises an error when the poll is over; called before each piece of a response.
        too_long: Returns the error for a response longer than `RESPONSE_LIMIT`.
    """
    # botocore has no public name for it; the event below is the public place to send a request.
    session = client._endpoint.http_session  # type: ignore[attr-defined]  # noqa: SLF001

    def send(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        from botocore.awsrequest import AWSResponse

        check()
        request.stream_output = True
        response: AWSResponse = session.send(request)
        body = b"".join(_pieces(request, response.raw, check, too_long))
        return AWSResponse(response.url, response.status_code, response.raw.headers, _Body(body))

    # Last, so that the rate limiter of botocore's retries waits before the request is sent.
    client.meta.events.register_last("before-send", cast("Callable[..., None]", send))


class _Body:
    """Body of a response that was read, in the form that botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def _pieces(
    request: AWSPreparedRequest,
    raw: Any,
    check: Callable[[], None],
    too_long: Callable[[], Exception],
) -> Iterator[bytes]:
    from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
    from urllib3.exceptions import HTTPError
    from urllib3.exceptions import ReadTimeoutError as TimedOutError

    size = 0
    whole = False
    try:
        # One read of the socket each: a server that sends single bytes cannot hold the thread.
        while piece := raw.read1(_PIECE):
            check()
            size += len(piece)
            if size > RESPONSE_LIMIT:
                raise too_long()
            yield piece
        whole = True
    except TimedOutError as error:
        raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
    except HTTPError as error:
        raise ConnectionClosedError(
            endpoint_url=request.url, error=error, request=request
        ) from error
    finally:
        if not whole:
            raw.close()
