"""One exchange: a request, the redirects that follow, and the answer at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flowstone_http.body import read_body
from flowstone_http.connector import Dialer
from flowstone_http.errors import RefusedError
from flowstone_http.request import REDIRECTS, Request
from flowstone_http.response import Answer, Facts

if TYPE_CHECKING:
    from flowstone_http.transport import Reply


@dataclass(frozen=True, slots=True)
class Condition:
    """What a server compares to say that nothing has changed.

    Attributes:
        source: The digest of the URL that it is about; no other URL is sent it.
        headers: Such as ``if-none-match``.
    """

    source: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Exchange:
    """How requests are sent, and what is not accepted.

    Attributes:
        dialer: Who connects, and until when.
        max_bytes: Most bytes of a body.
        max_redirects: Most redirects in a row.
        allow_downgrade: Whether one may lead from https to http.
        verify: Whether certificates must be trusted; or a file of those that are.
        trust_env: Whether proxies are taken from the environment.
    """

    dialer: Dialer
    max_bytes: int
    max_redirects: int = 5
    allow_downgrade: bool = False
    verify: bool | str = field(default=True, repr=False)
    trust_env: bool = False

    def run(self, request: Request, condition: Condition | None = None) -> Answer:
        """Send a request, and those that it is redirected to.

        Args:
            request: The first.
            condition: On which an answer may be 304.

        Raises:
            HttpError: If there is no answer, or one that is not accepted.
        """
        for _ in range(self.max_redirects + 1):
            answer = self._send(request, condition)
            if answer.status not in REDIRECTS:
                return answer
            request = request.redirected(
                answer.status, answer.header("location"), allow_downgrade=self.allow_downgrade
            )
        raise RefusedError(
            f"there are more than {self.max_redirects} redirects, the last to "
            f"{request.target.place}",
            hint="name the last URL in url, or raise max_redirects",
        )

    def _send(self, request: Request, condition: Condition | None) -> Answer:
        # Imported here, because it takes a while: who only lists plugins does not wait for it.
        from flowstone_http.transport import ask

        source = request.target.digest
        if condition is not None and condition.source == source:
            request = replace(request, headers={**request.headers, **condition.headers})

        def read(reply: Reply) -> Answer:
            # Of redirects and refusals the body is not read: there is nothing in it for us.
            wanted = reply.status < 300 and reply.status != 204 and request.method != "HEAD"
            encoding = reply.headers.get("content-encoding", "")
            body = read_body(reply.chunks, encoding, self.max_bytes) if wanted else b""
            return Answer(Facts(reply.status, reply.headers), body, source)

        return ask(self.dialer, request, read, verify=self.verify, trust_env=self.trust_env)
