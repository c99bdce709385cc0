"""One request, and the one that follows when it is redirected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from flowstone_http.errors import RefusedError
from flowstone_http.url import Target

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""The statuses that say where to go instead."""

_HARMLESS = {
    "accept": "application/json, */*;q=0.5",
    "accept-encoding": "gzip",
    "user-agent": "flowstone-http",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a server.

    Attributes:
        method: Such as ``GET``.
        target: What is asked for.
        headers: All of them, by their names in lower case.
        body: What is sent along.
    """

    method: str
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)

    def redirected(self, status: int, location: str, *, allow_downgrade: bool) -> Request:
        """Return the request to send instead.

        To another server goes nothing of ours: neither the body nor any header that was set.

        Args:
            status: Of the answer that redirects.
            location: Where to.
            allow_downgrade: Whether it may lead from https to http.

        Raises:
            RefusedError: If it may not, or leads nowhere.
        """
        here = self.target.place
        try:
            target = self.target.join(location)
        except ValueError:
            target = None
        if not location or target is None:
            raise RefusedError(
                f"{here} redirects to what is no URL of http or https", hint="check url"
            )
        if (self.target.scheme, target.scheme) == ("https", "http") and not allow_downgrade:
            raise RefusedError(
                f"{here} redirects from https to http on {target.place}",
                hint="name the right URL in url, or set allow_downgrade = true",
            )
        follower = replace(self, target=target)
        if status == 303 or (status < 303 and self.method == "POST"):
            plain = {name: text for name, text in self.headers.items() if name != "content-type"}
            method = "HEAD" if self.method == "HEAD" else "GET"
            follower = replace(follower, method=method, headers=plain, body=None)
        if self.target.keeps_headers(target):
            return follower
        if follower.body is not None:
            raise RefusedError(
                f"{here} redirects a request with a body to {target.place}",
                hint="name that URL in url if the body may go there",
            )
        return replace(follower, headers=_HARMLESS)


def usual_headers(own: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a request: the usual ones, and what the settings ask for."""
    return {**_HARMLESS, **{name.lower(): text for name, text in own.items()}}
