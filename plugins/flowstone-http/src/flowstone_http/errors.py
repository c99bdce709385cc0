"""What can go wrong with an exchange, said so that a person knows what to do.

The texts of requests and urllib3 hold whole URLs, those of servers anything at all. None of them
is quoted: every error here is made of our own words, the host's name, numbers, and what `Place`
shows. So no text holds a secret of a URL, a header or a body.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from flowstone_core import FlowstoneError


class HttpError(FlowstoneError):
    """A poll failed; the state stays as it was, and the next poll tries again."""


class HttpUnavailableError(HttpError):
    """The server cannot be reached, breaks off, or is overloaded at the moment."""

    retryable = True


class HttpTimeoutError(HttpUnavailableError):
    """The whole exchange took longer than ``timeout``; its connection was closed."""


class TlsError(HttpError):
    """No trusted connection could be made."""


class RefusedError(HttpError):
    """Something was asked for that the settings do not allow: a redirect, an address, a size."""


class StatusError(HttpError):
    """The server answered with a status that is no success."""


class ContentError(HttpError):
    """The answer is not what it should be: no JSON, no ETag, not what the settings look for."""


class PartitionError(HttpError):
    """The answer says that it is ready, but not for which partition."""


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
    "no TLS connection could be agreed on",
    "the server may speak plain HTTP on this port, or only an old version of TLS",
)
_UNTRUSTED = _Kind(
    TlsError,
    "the certificate is not trusted here",
    "name the certificate of who signed it in ca_file",
)
_NOT_HTTP = _Kind(
    HttpError, "what answers does not speak HTTP as it should", "check the host and port of url"
)
_TOO_LATE = _Kind(
    HttpTimeoutError, "there was no answer in time", "polls go on; raise timeout if it is slow"
)

# By OpenSSL's number of what is wrong with a certificate (X509_V_ERR_...).
_CERTIFICATES = {
    9: _Kind(TlsError, "the certificate is not valid yet", "check the clock of this machine"),
    10: _Kind(TlsError, "the certificate has expired", "its owner must renew it"),
    62: _Kind(TlsError, "the certificate is for another host", "check the host of url"),
    64: _Kind(TlsError, "the certificate is for another host", "check the host of url"),
}

# The most special first.
_BY_CLASS: tuple[tuple[type[BaseException], _Kind], ...] = (
    (ssl.SSLError, _UNKNOWN_TLS),
    (TimeoutError, _TOO_LATE),
    (ConnectionError, _RESET),
    (http.client.IncompleteRead, _RESET),
    (http.client.HTTPException, _NOT_HTTP),
    (OSError, _RESET),
)


def explain(error: BaseException, place: str) -> HttpError:
    """Say what an exception of requests, urllib3 or below means.

    Args:
        error: As it was raised; its text is not used.
        place: Where it happened, as it may be shown.

    Returns:
        The error to raise instead.
    """
    kind = _kind(error)
    return kind.error(f"{kind.message}: {place}", hint=kind.hint)


def _kind(error: BaseException) -> _Kind:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _CERTIFICATES.get(cause.verify_code, _UNTRUSTED)
    for ancestor, kind in _BY_CLASS:
        # What is foreign to us wraps the error that it comes from; its own class says less.
        if any(isinstance(cause, ancestor) for cause in causes if _is_telling(cause)):
            return kind
    return _NOT_HTTP


def _is_telling(cause: BaseException) -> bool:
    pythons = type(cause).__module__ in {"builtins", "socket", "ssl", "http.client"}
    # urllib3 counts the bytes of a body by itself, and has a class of its own for too few.
    return pythons or isinstance(cause, http.client.IncompleteRead)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Go through an exception and all that it was made of."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        parts = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        waiting.extend(part for part in parts if isinstance(part, BaseException))
