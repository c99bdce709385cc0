"""What a server answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Facts:
    """What a ``check_fn`` and a ``partition_fn`` get beside the body.

    Attributes:
        status: Such as 200.
        headers: By their names in lower case; what came twice is joined by a comma.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The last answer of an exchange, redirects followed.

    Attributes:
        facts: Its status and headers.
        body: Whole, decompressed; nothing where it was not asked for.
        source: The digest of the URL that it came from.
    """

    facts: Facts
    body: bytes = field(repr=False)
    source: str

    @property
    def status(self) -> int:
        """Such as 200."""
        return self.facts.status

    def header(self, name: str) -> str:
        """Return a header by its name in lower case; nothing if it is not there."""
        return self.facts.headers.get(name, "")
