"""Parsed URL, and its part that is safe to show."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

_PORTS = {"http": 80, "https": 443}
_LIMIT = 8_000


@dataclass(frozen=True, slots=True)
class ParsedUrl:
    """Validated http or https URL without credentials.

    Attributes:
        text: The whole URL without its fragment; it may hold secrets.
        scheme: ``http`` or ``https``.
        host: The host, in lower case.
        port: The port; the default of the scheme if the URL has none.
    """

    text: str
    scheme: str
    host: str
    port: int

    def __repr__(self) -> str:
        return f"<ParsedUrl {self.authority}>"

    @property
    def authority(self) -> str:
        """The host, and the port unless it is the default; safe to show."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def digest(self) -> str:
        """Digest of the URL, which reveals nothing of it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]

    def join(self, location: str) -> ParsedUrl:
        """Return the URL of a redirect; credentials in it are dropped.

        Raises:
            ValueError: If the location is not a valid http or https URL.
        """
        parts = urlsplit(urljoin(self.text, location))
        return _parsed(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def keeps_headers(self, other: ParsedUrl) -> bool:
        """Return True if headers may be sent there too: the same server, or its TLS port."""
        if self.host != other.host:
            return False
        upgrade = ("http", 80, "https", 443)
        same = (self.scheme, self.port) == (other.scheme, other.port)
        return same or (self.scheme, self.port, other.scheme, other.port) == upgrade


def parse_url(url: str) -> ParsedUrl:
    """Parse a URL of the settings.

    Raises:
        ValueError: If the URL is not a valid http or https URL, or holds credentials. The message
            does not quote it.
    """
    parts = urlsplit(url.strip())
    if "@" in parts.netloc:
        raise ValueError("credentials do not belong in a URL; use username and password")
    return _parsed(parts)


def _parsed(parts: SplitResult) -> ParsedUrl:
    wrong = "invalid URL; write http://HOST/PATH or https://HOST:PORT/PATH"
    try:
        port = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    url = parts._replace(fragment="", scheme=parts.scheme.lower()).geturl()
    odd = len(url) > _LIMIT or not url.isprintable() or " " in url or "\\" in parts.netloc
    if parts.scheme.lower() not in _PORTS or not parts.hostname or odd or port == 0:
        raise ValueError(wrong)
    scheme = parts.scheme.lower()
    return ParsedUrl(url, scheme, parts.hostname, _PORTS[scheme] if port is None else port)
