"""A URL to ask, and as much of it as may be shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

_PORTS = {"http": 80, "https": 443}
_LIMIT = 8_000


@dataclass(frozen=True, slots=True)
class Target:
    """An address on the web: its parts have been looked at, and it holds no credentials.

    Attributes:
        url: Whole, without a fragment; it may hold secrets.
        scheme: ``http`` or ``https``.
        host: In lower case.
        port: Of the scheme if the URL has none.
    """

    url: str
    scheme: str
    host: str
    port: int

    def __repr__(self) -> str:
        return f"<Target {self.place}>"

    @property
    def place(self) -> str:
        """The host, and the port where it is not the usual one; safe to show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def digest(self) -> str:
        """What tells this URL from another, and nothing of it."""
        return hashlib.sha256(self.url.encode()).hexdigest()[:32]

    def join(self, location: str) -> Target:
        """Return where a redirect leads to; credentials in it are dropped.

        Raises:
            ValueError: If it is no URL of http or https.
        """
        parts = urlsplit(urljoin(self.url, location))
        return _target(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def keeps_headers(self, other: Target) -> bool:
        """Say whether what was sent here may be sent there too: the same server, or its TLS."""
        if self.host != other.host:
            return False
        upgrade = ("http", 80, "https", 443)
        same = (self.scheme, self.port) == (other.scheme, other.port)
        return same or (self.scheme, self.port, other.scheme, other.port) == upgrade


def read_target(url: str) -> Target:
    """Read a URL from the settings.

    Raises:
        ValueError: If it is none of http or https, or holds credentials. The text does not
            quote it.
    """
    parts = urlsplit(url.strip())
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong in a URL; use username and password")
    return _target(parts)


def _target(parts: SplitResult) -> Target:
    wrong = "it is no URL; write http://HOST/PATH or https://HOST:PORT/PATH"
    try:
        port = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    url = parts._replace(fragment="", scheme=parts.scheme.lower()).geturl()
    odd = len(url) > _LIMIT or not url.isprintable() or " " in url or "\\" in parts.netloc
    if parts.scheme.lower() not in _PORTS or not parts.hostname or odd or port == 0:
        raise ValueError(wrong)
    scheme = parts.scheme.lower()
    return Target(url, scheme, parts.hostname, _PORTS[scheme] if port is None else port)
