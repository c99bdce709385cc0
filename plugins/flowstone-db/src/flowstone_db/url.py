"""Database URL: parsed for SQLAlchemy, and shown and masked in messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from flowstone_core.plugin_api import has_unescaped_at

if TYPE_CHECKING:
    from sqlalchemy import URL

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
_KNOWN = {**_DRIVERS, **{driver: driver for driver in _DRIVERS.values()}}
_ALLOWED = (
    "use sqlite:///path/to/file.db, postgresql://user@host/database or mysql://user@host/database"
)
_MASK = "***"
_SHORTEST_SECRET = 4


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """URL of a database that can be read without being changed.

    Attributes:
        url: The URL for SQLAlchemy, with the password.
        backend: ``sqlite``, ``postgresql``, ``mysql`` or ``mariadb``.
    """

    url: URL
    backend: str

    def __str__(self) -> str:
        shown = self.url.set(drivername=self.backend, password=None, query={})
        return shown.render_as_string()

    def mask(self, text: str) -> str:
        """Return a text of the driver with every secret of the URL masked."""
        values = [self.url.password, *map(str, self.url.query.values())]
        for secret in values:
            if secret is not None and len(secret) >= _SHORTEST_SECRET:
                for form in (secret, repr(secret)[1:-1], quote(secret, safe="")):
                    text = text.replace(form, _MASK)
        return text

    def connect_url(self) -> URL:
        """Return the URL to connect to; an SQLite file is opened read-only by a URI."""
        if self.backend != "sqlite":
            return self.url
        path = Path(str(self.url.database)).absolute()
        return self.url.set(database=path.as_uri(), query={"mode": "ro", "uri": "true"})


def parse_database_url(text: str, password: str | None = None) -> DatabaseUrl:
    """Parse a database URL.

    Args:
        text: The URL in SQLAlchemy's form.
        password: The password, if not in the URL.

    Raises:
        ValueError: If the URL is invalid, or names a database or driver without read-only
            transactions. No part of the text is quoted.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    if has_unescaped_at(text):
        raise ValueError(
            "invalid URL: unescaped '@' (write @ in a user, a password or a query as %40, or set "
            "password)"
        )
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(
            f"invalid URL: {_ALLOWED}; in a user or password, write @ : / % as %40 %3A %2F %25"
        ) from None
    driver = _KNOWN.get(url.drivername)
    if driver is None:
        raise ValueError(f"unsupported database or driver {url.drivername!r:.40}: {_ALLOWED}")
    if password is not None and url.password is not None:
        raise ValueError("duplicate password: set it either in url or in password")
    backend = driver.partition("+")[0]
    if backend == "sqlite":
        _check_file(url, password)
    elif url.database is not None:
        # SQLAlchemy leaves the name of the database as it is.
        url = url.set(database=url.database.replace("%40", "@"))
    return DatabaseUrl(url.set(drivername=driver, password=password or url.password), backend)


def _check_file(url: URL, password: str | None) -> None:
    if not url.database or url.database == ":memory:":
        raise ValueError("an in-memory database is empty at each connect: name a file")
    if url.host or url.query or url.database.startswith("file:") or password is not None:
        raise ValueError("an SQLite URL must be sqlite:/// and a path, without a password")
