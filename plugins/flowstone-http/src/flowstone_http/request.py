"""HTTP request, and the request that follows a redirect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flowstone_http.errors import RefusedError
from flowstone_http.url import ParsedUrl

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""The statuses of redirects that are followed."""

_DEFAULT_HEADERS = {
    "accept": "application/json, */*;q=0.5",
    "accept-encoding": "gzip",
    "user-agent": "flowstone-http",
}


@dataclass(frozen=True, slots=True)
class Request:
    """HTTP request.

    Attributes:
        method: The method, such as ``GET``.
        url: The URL.
        headers: All headers, by their names in lower case.
        body: The body; None without one.
    """

    method: str
    url: ParsedUrl
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)

    def redirected(self, status: int, location: str, *, allow_downgrade: bool) -> Request:
        """Return the request that follows a redirect.

        Another server receives neither the body nor any configured header.

        Args:
            status: The status of the redirect.
            location: The header ``Location``.
            allow_downgrade: Whether the redirect may lead from https to http.

        Raises:
            RefusedError: If the redirect is not allowed, or has no valid location.
        """
        here = self.url.authority
        try:
            url = self.url.join(location)
        except ValueError:
            url = None
        if not location or url is None:
            raise RefusedError(
                f"{here} redirects to an invalid http or https URL", hint="check url"
            )
        if (self.url.scheme, url.scheme) == ("https", "http") and not allow_downgrade:
            raise RefusedError(
                f"{here} redirects from https to http on {url.authority}",
                hint="set url to the final URL, or set allow_downgrade = true",
            )
        follower = replace(self, url=url)
        if status == 303 or (status < 303 and self.method == "POST"):
            plain = {name: text for name, text in self.headers.items() if name != "content-type"}
            method = "HEAD" if self.method == "HEAD" else "GET"
            follower = replace(follower, method=method, headers=plain, body=None)
        if self.url.keeps_headers(url):
            return follower
        if follower.body is not None:
            raise RefusedError(
                f"{here} redirects a request with a body to {url.authority}",
                hint="set url to that URL if the body may be sent there",
            )
        return replace(follower, headers=_DEFAULT_HEADERS)


def request_headers(own: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request: the defaults, overridden by the configured ones."""
    return {**_DEFAULT_HEADERS, **{name.lower(): text for name, text in own.items()}}
