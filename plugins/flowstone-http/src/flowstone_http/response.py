"""HTTP response, and its facts for functions of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a response, passed to ``check_fn`` and ``partition_fn`` beside the body.

    Attributes:
        status: The status, such as 200.
        headers: The headers, by their names in lower case; repeated ones are joined by a comma.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Response:
    """Last response of an exchange, after redirects.

    Attributes:
        facts: Its status and headers.
        body: The whole body, decompressed; empty if it was not read.
        source: The digest of its URL.
    """

    facts: Facts
    body: bytes = field(repr=False)
    source: str

    @property
    def status(self) -> int:
        """The status, such as 200."""
        return self.facts.status

    def header(self, name: str) -> str:
        """Return a header by its name in lower case; empty if missing."""
        return self.facts.headers.get(name, "")
