"""Store URLs: parsed strictly, and shown without their passwords."""

from __future__ import annotations

import re
from urllib.parse import quote_plus

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from flowstone_core.errors import ValidationError
from flowstone_core.model.redaction import MASK, Redactor, looks_secret
from flowstone_core.model.safe_text import printable
from flowstone_core.model.url_text import has_unescaped_at

_HOSTS = re.compile(r"(postgres\w*(?:\+\w+)?://(?:[^@/?]*@)?)([^@/?]*,[^@/?]*)")
_SCHEMES = "use sqlite:///path/to/file.db or postgresql://user:password@host/database"


def parse_url(text: str) -> URL:
    """Parse the URL of a store.

    Raises:
        ValidationError: If the URL is invalid, or its database is not supported; a password in
            the URL is masked.
    """
    if has_unescaped_at(text):
        raise ValidationError(
            "invalid store URL: unescaped '@' (write @ in a user, a password or a query as %40)"
        )
    shown = _shown(text)
    try:
        url = _with_all_hosts(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        scheme, separator, _ = shown.partition("://")
        if separator and "@" in text:  # unknown where: any part of the address may be the password
            shown = f"{scheme}://{MASK}"
        raise ValidationError(f"invalid store URL {shown!r}: {_SCHEMES}") from None
    if backend == "sqlite":
        plain = url == URL.create(url.drivername, database=url.database)
        if not plain or (url.database or "").startswith("file:"):
            raise ValidationError(f"invalid store URL {shown!r}: must be a plain path ({_SCHEMES})")
        return url.set(drivername="sqlite")
    if backend in {"postgresql", "postgres"} and url.drivername in {
        "postgres",
        "postgresql",
        "postgresql+psycopg",
    }:
        # SQLAlchemy leaves the name of the database as it is.
        database = url.database and url.database.replace("%40", "@")
        return url.set(drivername="postgresql+psycopg", database=database)
    raise ValidationError(
        f"invalid store URL {shown!r}: unsupported database {url.drivername!r} ({_SCHEMES})"
    )


def _with_all_hosts(text: str) -> URL:
    """Parse a URL that may name several hosts, as libpq's do; SQLAlchemy takes them as a query."""
    several = _HOSTS.match(text)
    if several is None:
        return make_url(text)
    hosts, ports = zip(*(host.partition(":")[::2] for host in several[2].split(",")), strict=True)
    url = make_url(several[1] + text[several.end() :])
    return url.update_query_dict({"host": ",".join(hosts), "port": ",".join(ports)})


def _shown(text: str) -> str:
    """Return what an error may show of an invalid URL."""
    address, query, _ = text.partition("?")
    if "://" not in address and "@" in address:
        return MASK
    return printable(Redactor()(address), 200) + (query and query + MASK)


def masked(url: URL) -> str:
    """Return the URL with its passwords masked, and without the driver's name."""
    hidden = {name: MASK for name in url.query if looks_secret(name)}
    shown = (
        url.set(drivername=url.get_backend_name())
        .update_query_dict(hidden)
        .render_as_string(hide_password=bool(url.password))
    )
    return shown.replace(quote_plus(MASK), MASK)
