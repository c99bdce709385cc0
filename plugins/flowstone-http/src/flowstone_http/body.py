"""A body, read and decompressed in small pieces, up to a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from flowstone_http.errors import ContentError, RefusedError

_PIECE = 16 * 1024


def read_body(chunks: Iterable[bytes], encoding: str, limit: int) -> bytes:
    """Read a body whole.

    No more than ``limit`` bytes, and one piece, are ever held, whatever they were compressed to.

    Args:
        chunks: As they came.
        encoding: The header ``Content-Encoding``.
        limit: Most bytes, both as they came and decompressed.

    Raises:
        RefusedError: If there are more.
        ContentError: If they cannot be decompressed, or not by gzip.
    """
    chunks = _limited(chunks, limit)
    match encoding.strip().lower():
        case "" | "identity":
            return b"".join(chunks)
        case "gzip" | "x-gzip":
            return b"".join(_limited(_unzipped(chunks), limit))
    raise ContentError(
        "the answer is compressed in a way that was not asked for",
        hint="only gzip is; a proxy may have changed it",
    )


def _limited(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise RefusedError(
                f"the answer has more than {limit:,} bytes",
                hint="raise max_bytes, or ask for less",
            )
        yield chunk


def _unzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                if member.eof:
                    # As gzip itself has it: zeros after a member are padding (RFC 1952 has none).
                    rest = rest.lstrip(b"\0")
                    if not rest:
                        break
                    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
                yield member.decompress(rest, _PIECE)
                rest = member.unconsumed_tail or member.unused_data
    except zlib.error:
        raise ContentError("the answer says that it is gzip, and is not", hint=None) from None
    if not member.eof:
        raise ContentError("the answer's gzip breaks off", hint="polls go on")
