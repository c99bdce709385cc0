"""PostgreSQL errors: the cause in words, the remedy, and whether waiting helps."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flowstone_core.model.safe_text import printable

_UNREACHABLE = "is PostgreSQL running and reachable?"
_TLS = "see sslmode and sslrootcert in the store's URL, and ssl in postgresql.conf"
_STANDBY = (
    "a standby, or in recovery: wait for the failover; with several hosts and "
    "target_session_attrs=read-write in its URL the store follows the primary"
)
_BUSY = "the transaction took too long: wait until the server is less busy"
# Of error classes and codes (appendix A of PostgreSQL's manual), those that may pass: the longest
# one that an error's code begins with has the hint.
_TRANSIENT = {
    "08": _UNREACHABLE,  # the connection failed, or a pooler refused it
    "25006": _STANDBY,
    "25P03": _BUSY,
    "25P04": _BUSY,
    "28": "check the user, the password and pg_hba.conf",
    "3D000": "create it with createdb, or correct its name in the store's URL",
    "3F000": "restore a backup, or run: flowstone db upgrade",
    "40": "a concurrent transaction was in the way: wait until it has ended",
    "42501": "use the owner of the tables in the store's URL, or grant its user the rights",
    "42P01": "restore a backup, or run: flowstone db upgrade",
    "53": "the server lacks resources: see its log",
    "53100": "free some space on the server",
    "53300": "raise max_connections, or use a connection pooler",
    "55P03": "another session holds the lock: wait until it is released",
    "57": "the server was stopped, or ended the session: wait until it runs",
    "57014": "the statement took too long, or was cancelled: wait until the server is less busy",
    "57P03": "the server is starting up, stopping or recovering: wait until it is ready",
    "58": "see the log and the disk of the server",
}
_MISCONFIGURED = ("28", "3D000", "3F000", "42501", "42P01", "URL")
"""Codes that a running runner waits out, as an operator may be at work, and a start does not."""

# Serialization failure, deadlock, and a unique key that a concurrent transaction inserted: a
# second attempt sees the other transaction's rows.
_CONFLICTS = {"40001", "40P01", "23505"}

# A server that refuses a connection sends no code that the driver passes on, only its text.
_REFUSALS = (
    (re.compile(r"the database system is \w+|recovery", re.IGNORECASE), "57P03"),
    (re.compile(r"too many (clients|connections)|connection slots", re.IGNORECASE), "53300"),
    (re.compile(r'database "[^"]*" does not exist|no such database', re.IGNORECASE), "3D000"),
    (re.compile(r"authentication failed|pg_hba\.conf|role .* does not exist"), "28"),
    (re.compile(r"no password supplied|password is required"), "28"),
)
_FATAL = re.compile(r"FATAL:\s+(.+)")

_LOST = (
    r"closed (the connection )?unexpectedly|reset by peer|connection is (lost|closed)"
    r"|broken pipe|EOF detected|consuming input failed|sending .* failed"
)
# Failures on this side of the connection, which have no code: words of libpq and psycopg, ours,
# and a code that stands for them. Of several hosts each may have failed in another way.
_FAILURES = tuple(
    (re.compile(pattern, re.IGNORECASE), text, code, hint)
    for pattern, text, code, hint in (
        (r"session is read-only|server is in hot standby", "no host takes writes", "08", _STANDBY),
        (r"does not support SSL", "TLS unavailable: the server does not offer it", "URL", _TLS),
        (r"certificate", "invalid certificate of the server, or of this client", "URL", _TLS),
        (r"SSL error|SSL SYSCALL error: Success|tlsv1", "TLS failed", "08", _TLS),
        (r"resolve host|translate host name", "unknown host", "08", "is its name right?"),
        (r"Connection refused", "connection refused", "08", _UNREACHABLE),
        (r"on socket .* failed", "no server at the socket", "08", _UNREACHABLE),
        (r"timeout expired|timed out", "no answer in time", "08", _UNREACHABLE),
        (r"No route to host|is unreachable", "host unreachable", "08", _UNREACHABLE),
        (_LOST, "connection lost", "08", _UNREACHABLE),
    )
)
_INVALID = re.compile(r"invalid [^:]*(option|value|parameter|number)\b.*|bad value for .*")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Diagnosis of an error of PostgreSQL or of its driver.

    Attributes:
        text: The cause: the server's message, or the failure on this side in words.
        hint: The remedy, if one is known.
        code: The SQLSTATE, ``URL`` for an invalid option of the URL, or empty.
        transient: True if the error may pass.
    """

    text: str
    hint: str | None
    code: str
    transient: bool

    @property
    def misconfigured(self) -> bool:
        """True if an operator has to act: a start does not wait for that."""
        return self.code.startswith(_MISCONFIGURED)

    @property
    def conflict(self) -> bool:
        """True if the transaction was rolled back because of a concurrent one."""
        return self.code in _CONFLICTS

    @property
    def read_only(self) -> bool:
        """True if the server of the connection only reads: another one may take writes."""
        return self.code == "25006"


def diagnose(cause: BaseException | None, *, lost: bool = False) -> Diagnosis:
    """Diagnose an error of the driver.

    Args:
        cause: The error.
        lost: The connection cannot be used again.
    """
    code = getattr(cause, "sqlstate", None) or ""
    said = str(cause)
    if code in {"", "08P01"}:  # a pooler sends that one for whatever it refuses
        code = next((each for pattern, each in _REFUSALS if pattern.search(said)), code)
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    refusal = _FATAL.search(said)
    if primary or refusal or code:
        text = primary or (refusal[1] if refusal else said)
        hint = _hint(code) or (_UNREACHABLE if lost else None)
        return Diagnosis(_line(text), hint, code, hint is not None)
    return _on_this_side(said, lost=lost)


def _on_this_side(said: str, *, lost: bool) -> Diagnosis:
    for pattern, text, code, hint in _FAILURES:
        if pattern.search(said):
            return Diagnosis(text, hint, code, transient=True)
    invalid = _INVALID.search(said)
    if invalid is not None:
        hint = "correct the query of the store's URL"
        return Diagnosis(_line(invalid[0]), hint, "URL", transient=True)
    return Diagnosis(_line(said), _UNREACHABLE if lost else None, "", lost)


def _hint(code: str) -> str | None:
    """Return the hint for a code that may be transient; None for others."""
    known = [prefix for prefix in _TRANSIENT if code.startswith(prefix)]
    return _TRANSIENT[max(known, key=len)] if known else None


def _line(text: str) -> str:
    return printable((text.strip().splitlines() or [""])[0], 300)
