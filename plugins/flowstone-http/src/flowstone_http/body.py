"""Body reader: reads and decompresses a body in small pieces, up to a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from flowstone_http.errors import ContentError, RefusedError

_PIECE = 16 * 1024


def read_body(chunks: Iterable[bytes], encoding: str, limit: int) -> bytes:
    """Read a whole body.

    At most ``limit`` bytes and one piece are held in memory, at any compression ratio.

    Args:
        chunks: The chunks as received.
        encoding: The header ``Content-Encoding``.
        limit: Most bytes, both as received and decompressed.

    Raises:
        RefusedError: If the body is larger.
        ContentError: If the body cannot be decompressed, or is not gzip.
    """
    chunks = _limited(chunks, limit)
    match encoding.strip().lower():
        case "" | "identity":
            return b"".join(chunks)
        case "gzip" | "x-gzip":
            return b"".join(_limited(_unzipped(chunks), limit))
    raise ContentError(
        "unsupported Content-Encoding of the response",
        hint="only gzip is requested; a proxy may have changed it",
    )


def _limited(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise RefusedError(
                f"response too large: more than {limit:,} bytes",
                hint="raise max_bytes, or request less",
            )
        yield chunk


def _unzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                if member.eof:
                    # As in gzip itself, zeros after a member are padding (RFC 1952 has none).
                    rest = rest.lstrip(b"\0")
                    if not rest:
                        break
                    member = zlib.decompressobj(16 + zlib.MAX_WBITS)
                yield member.decompress(rest, _PIECE)
                rest = member.unconsumed_tail or member.unused_data
    except zlib.error:
        raise ContentError("Content-Encoding is gzip, but the body is not", hint=None) from None
    if not member.eof:
        raise ContentError("truncated gzip body", hint="polls go on")
