"""Parsed URL, and its part that is safe to show."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from flowstone_core.plugin_api import InvalidSecretError

_PORTS = {"http": 80, "https": 443}
_LIMIT = 8_000
_NETLOC = re.compile(r"(?:\[[^\[\]]+\]|[^.*:\[\]][^*:\[\]]*)(?::\d*)?")


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
        InvalidSecretError: If the URL is not a valid http or https URL, or holds credentials. The
            message does not quote it.
    """
    url = url.strip()
    if any(character <= " " or character == "\x7f" for character in url):
        raise InvalidSecretError("blank or control character in the URL (write %20 for a blank)")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise InvalidSecretError("invalid host in the URL; an IPv6 address is [ADDRESS]") from None
    if "@" in parts.netloc:
        raise InvalidSecretError("credentials do not belong in a URL; use username and password")
    return _parsed(parts)


def _parsed(parts: SplitResult) -> ParsedUrl:
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        # "localhost:80/x" has no scheme, though urlsplit finds one.
        if scheme and (parts.netloc or parts.path.startswith("/")):
            raise InvalidSecretError("unsupported scheme of the URL: use http or https")
        raise InvalidSecretError("missing scheme of the URL: begin it with http:// or https://")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise InvalidSecretError("invalid port in the URL: use 1 to 65535")
    if not parts.hostname:
        raise InvalidSecretError("missing host in the URL: write SCHEME://HOST/PATH")
    if not _NETLOC.fullmatch(parts.netloc):
        raise InvalidSecretError("invalid host in the URL: write a name or an address")
    url = parts._replace(fragment="", scheme=scheme).geturl()
    if len(url) > _LIMIT:
        raise InvalidSecretError(f"URL too long: {len(url):,} characters; {_LIMIT:,} are allowed")
    if not url.isprintable() or " " in url or "\\" in parts.netloc:
        raise InvalidSecretError("invalid character in the URL: write it as %XX")
    return ParsedUrl(url, scheme, parts.hostname, _PORTS[scheme] if port is None else port)
