"""Errors of the HTTP plugin, and the tables that translate foreign exceptions into them.

The texts of requests and urllib3 hold whole URLs, and those of servers anything. None of them is
quoted: every message here consists of fixed words, numbers, and the host and port of the URL. So
no message holds a secret of a URL, a header or a body.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from flowstone_core import FlowstoneError


class HttpError(FlowstoneError):
    """A poll failed; the state is unchanged, and the next poll tries again."""


class HttpUnavailableError(HttpError):
    """The server is unreachable, closes the connection, or is overloaded at the moment."""

    retryable = True


class HttpTimeoutError(HttpUnavailableError):
    """The whole exchange took longer than ``timeout``; its connection was closed."""


class TlsError(HttpError):
    """The TLS handshake failed, or the certificate is not trusted."""


class RefusedError(HttpError):
    """The settings do not allow a redirect, an address or a size."""


class StatusError(HttpError):
    """The status of the response is not a success."""


class ContentError(HttpError):
    """The content of the response is invalid: not JSON, no ETag, or not as the settings expect."""


class PartitionError(HttpError):
    """The response is ready, but names no valid partition."""


@dataclass(frozen=True, slots=True)
class _Kind:
    error: type[HttpError]
    message: str
    hint: str


_RESET = _Kind(
    HttpUnavailableError, "the connection broke off", "polls go on; a proxy may have closed it"
)
_UNKNOWN_TLS = _Kind(
    TlsError,
    "TLS handshake failed",
    "the server may speak plain HTTP on this port, or only an old version of TLS",
)
_UNTRUSTED = _Kind(
    TlsError,
    "the certificate is not trusted",
    "set ca_file to the certificate of its issuer",
)
_NOT_HTTP = _Kind(
    HttpError, "the server does not speak valid HTTP", "check the host and port of url"
)
_TOO_LATE = _Kind(
    HttpTimeoutError, "no response in time", "polls go on; raise timeout if the server is slow"
)

# By OpenSSL's verification error (X509_V_ERR_...).
_CERTIFICATES = {
    9: _Kind(TlsError, "the certificate is not valid yet", "check the clock of this machine"),
    10: _Kind(TlsError, "the certificate has expired", "its owner must renew it"),
    62: _Kind(TlsError, "the certificate is for another host", "check the host of url"),
    64: _Kind(TlsError, "the certificate is for another host", "check the host of url"),
}

# The most specific first.
_BY_CLASS: tuple[tuple[type[BaseException], _Kind], ...] = (
    (ssl.SSLError, _UNKNOWN_TLS),
    (TimeoutError, _TOO_LATE),
    (ConnectionError, _RESET),
    (http.client.IncompleteRead, _RESET),
    (http.client.HTTPException, _NOT_HTTP),
    (OSError, _RESET),
)


def translate_error(error: BaseException, authority: str) -> HttpError:
    """Return the error to raise instead of one of requests, urllib3 or below.

    Args:
        error: The raised error; its text is not used.
        authority: The host and port, safe to show.
    """
    kind = _kind(error)
    return kind.error(f"{kind.message}: {authority}", hint=kind.hint)


def _kind(error: BaseException) -> _Kind:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _CERTIFICATES.get(cause.verify_code, _UNTRUSTED)
    for ancestor, kind in _BY_CLASS:
        # Library exceptions wrap their cause, and their class says less than the cause's.
        if any(isinstance(cause, ancestor) for cause in causes if _is_telling(cause)):
            return kind
    return _NOT_HTTP


def _is_telling(cause: BaseException) -> bool:
    pythons = type(cause).__module__ in {"builtins", "socket", "ssl", "http.client"}
    # urllib3 counts the bytes of a body itself, and has a separate class for too few.
    return pythons or isinstance(cause, http.client.IncompleteRead)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all its causes."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        parts = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        waiting.extend(part for part in parts if isinstance(part, BaseException))
