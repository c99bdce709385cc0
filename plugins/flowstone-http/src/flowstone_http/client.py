"""HTTP client: sends a request, follows redirects, and returns the last response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowstone_http.body import read_body
from flowstone_http.connector import Connector
from flowstone_http.errors import RefusedError
from flowstone_http.request import REDIRECTS, Request
from flowstone_http.response import Facts, Response

if TYPE_CHECKING:
    from flowstone_http.transport import RawResponse


@dataclass(frozen=True, slots=True)
class Condition:
    """Headers of a conditional request.

    Attributes:
        source: The digest of the URL of the condition; it is sent to no other URL.
        headers: Such as ``if-none-match``.
    """

    source: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HttpClient:
    """HTTP client for one exchange, with its limits.

    Attributes:
        connector: Opens connections, within a deadline.
        max_bytes: Most bytes of a body.
        max_redirects: Most redirects in a row.
        allow_downgrade: Whether a redirect may lead from https to http.
        verify: Whether certificates must be trusted; or a file of trusted ones.
        trust_env: Whether proxies are taken from the environment.
    """

    connector: Connector
    max_bytes: int
    max_redirects: int = 5
    allow_downgrade: bool = False
    verify: bool | str = field(default=True, repr=False)
    trust_env: bool = False

    def fetch(self, request: Request, condition: Condition | None = None) -> Response:
        """Send a request, follow redirects, and return the last response.

        Args:
            request: The first request.
            condition: The condition under which the response may be 304.

        Raises:
            HttpError: If no response is received, or it is not accepted.
        """
        for _ in range(self.max_redirects + 1):
            response = self._send(request, condition)
            if response.status not in REDIRECTS:
                return response
            request = request.redirected(
                response.status, response.header("location"), allow_downgrade=self.allow_downgrade
            )
        raise RefusedError(
            f"too many redirects: more than {self.max_redirects}, the last to "
            f"{request.url.authority}",
            hint="set url to the last URL, or raise max_redirects",
        )

    def _send(self, request: Request, condition: Condition | None) -> Response:
        # Imported here because the import is slow, and listing plugins does not need it.
        from flowstone_http.transport import send_request

        source = request.url.digest
        if condition is not None and condition.source == source:
            request = replace(request, headers={**request.headers, **condition.headers})

        def read(reply: RawResponse) -> Response:
            # The body of redirects and errors is not used, so it is not read.
            wanted = reply.status < 300 and reply.status != 204 and request.method != "HEAD"
            encoding = reply.headers.get("content-encoding", "")
            body = read_body(reply.chunks, encoding, self.max_bytes) if wanted else b""
            return Response(Facts(reply.status, reply.headers), body, source)

        return send_request(
            self.connector, request, read, verify=self.verify, trust_env=self.trust_env
        )
