"""What a page of a listing says, read from its XML at a tenth of botocore's price.

The parser is Python's own expat: lxml is no faster at this and would be one dependency more. A
page that declares a document type is not read at all, for in there entities are defined: no
listing has one, and what answers is not always Amazon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.parsers import expat

_ROOT = "ListBucketResult"
_OF_OBJECT = ("Key", "ETag", "Size", "LastModified")
_OF_PAGE = ("EncodingType", "IsTruncated", "NextContinuationToken")


class S3Object(NamedTuple):
    """An object as a listing shows it; its key is exactly what it was uploaded as."""

    key: str
    etag: str
    size: int
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes:
        objects: What it lists.
        truncated: Whether there are more; None if it does not say.
        token: With which the next page is asked for.
    """

    objects: list[S3Object]
    truncated: bool | None
    token: str | None


class ForeignListingError(ValueError):
    """A page that is none of S3's, or lacks what each of S3's has."""


def parse_page(body: bytes) -> Page | None:
    """Read a page.

    Args:
        body: The XML.

    Returns:
        The page, or None if this is another document or a broken one.

    Raises:
        ForeignListingError: If it declares a document type, or says too little of an object.

    Example:
        >>> parse_page(b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        Page(objects=[], truncated=False, token=None)
    """
    reader = _Reader()
    try:
        reader.read(body)
    except expat.ExpatError:
        return None
    return reader.page() if reader.is_listing else None


class _Reader:
    """Collects texts; the handlers are called 12,000 times a page, so they do next to nothing."""

    def __init__(self) -> None:
        self.is_listing = False
        self._facts: dict[str, str] = {}
        self._rows: list[dict[str, str]] = []

    def read(self, body: bytes) -> None:
        # With namespaces, because a server may give them any prefix.
        parser = expat.ParserCreate("utf-8", "}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_doctype
        text = ""
        row: dict[str, str] = {}
        names: Mapping[str, str] = {}

        def root(name: str, _: object) -> None:
            nonlocal names
            space = name.removesuffix(_ROOT)
            self.is_listing = name != space and (not space or space.endswith("}"))
            names = {space + each: each for each in (*_OF_OBJECT, *_OF_PAGE, "Contents")}
            parser.StartElementHandler = start

        def start(_: str, __: object) -> None:
            nonlocal text
            text = ""

        def data(chunk: str) -> None:
            nonlocal text
            text += chunk

        def end(name: str) -> None:
            nonlocal row
            field = names.get(name)
            if field == "Contents":
                self._rows.append(row)
                row = {}
            elif field is not None:
                (self._facts if field in _OF_PAGE else row)[field] = text

        parser.StartElementHandler = root
        parser.EndElementHandler = end
        parser.CharacterDataHandler = data
        parser.Parse(body, True)  # noqa: FBT003 - expat takes it by position

    def page(self) -> Page:
        encoded = self._facts.get("EncodingType") == "url"
        truncated = self._facts.get("IsTruncated")
        return Page(
            [_object(row, encoded=encoded) for row in self._rows],
            None if truncated is None else truncated.strip() == "true",
            self._facts.get("NextContinuationToken") or None,
        )


def _object(row: Mapping[str, str], *, encoded: bool) -> S3Object:
    try:
        key = row["Key"]
        if encoded and ("%" in key or "+" in key):
            key = unquote_plus(key, errors="strict")
        return S3Object(key, row["ETag"].strip('"'), int(row["Size"]), _time(row["LastModified"]))
    except KeyError as error:
        raise ForeignListingError(f"gives no {error.args[0]} for {_shown(row)}") from None
    except UnicodeDecodeError:
        raise ForeignListingError(f"gives a key that is not UTF-8: {_shown(row)}") from None
    except ValueError as error:
        raise ForeignListingError(f"cannot be read: {error}, for {_shown(row)}") from None


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _shown(row: Mapping[str, str]) -> str:
    return f"{row.get('Key')!r:.200}"


def _refuse_doctype(*_: object) -> None:
    raise ForeignListingError("declares a document type")
