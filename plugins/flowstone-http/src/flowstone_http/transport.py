"""One request over requests and urllib3, with our own connections below; the only owner of both.

Only `requests.adapters.HTTPAdapter` is used. A `requests.Session` would read the bodies of
redirects without a limit, send what is in ``~/.netrc``, and keep cookies.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError as Urllib3Error

from flowstone_http.connector import Dialer
from flowstone_http.deadline import TimedSocket
from flowstone_http.errors import RefusedError, explain
from flowstone_http.request import Request

T = TypeVar("T")

_PIECE = 16 * 1024

_silent: ContextVar[bool] = ContextVar("flowstone_http_silent", default=False)


def _is_to_be_logged(_record: logging.LogRecord) -> bool:
    return not _silent.get()


# They log whole URLs, and headers that they cannot read. Others in this process may want theirs.
for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_is_to_be_logged)


class _Dialled:
    """What our connections have in common: who connects them, and that they are never late."""

    dialer: Dialer
    sock: Any  # a socket, and once it is connected a `TimedSocket`

    def _new_conn(self: Any) -> Any:
        return self.dialer.connect(self._dns_host, self.port)

    def _tunnel(self: Any) -> None:
        bare, self.sock = self.sock, TimedSocket(self.sock, self.dialer.deadline)
        super()._tunnel()  # type: ignore[misc]  # of the class that it is mixed into
        self.sock = bare

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]  # of the class that it is mixed into
        self.sock = TimedSocket(self.sock, self.dialer.deadline)


class _Connection(_Dialled, HTTPConnection):
    pass


class _TlsConnection(_Dialled, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def _validate_conn(self, conn: Any) -> None:
        # Not the original: it would warn of each request that is not verified. The sensor does.
        if conn.is_closed:
            conn.connect()


class _Adapter(HTTPAdapter):
    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self._pools: list[Any] = []
        super().__init__(pool_connections=1, pool_maxsize=1)

    def close(self) -> None:
        # urllib3 would leave the connections of a pool to the garbage collector.
        for pool in self._pools:
            pool.close()
        super().close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._equip(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy.lower().startswith("socks"):
            raise RefusedError(
                "the environment names a SOCKS proxy, which is not supported",
                hint="set trust_env = false, or a proxy of HTTP",
            )
        return self._equip(super().proxy_manager_for(proxy, **kwargs))

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        make = pool._new_conn  # noqa: SLF001 - the pool has no other place to equip what it makes

        def equipped() -> Any:
            connection = make()
            connection.dialer = self._dialer  # type: ignore[attr-defined]
            return connection

        self._pools.append(pool)
        pool._new_conn = equipped  # type: ignore[method-assign]  # noqa: SLF001
        return pool

    def _equip(self, manager: PoolManager) -> PoolManager:
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose body has not been read."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


def ask(
    dialer: Dialer,
    request: Request,
    read: Callable[[Reply], T],
    *,
    verify: bool | str,
    trust_env: bool,
) -> T:
    """Send one request; the connection is closed at the end, whatever was read.

    Args:
        dialer: Who connects, and until when.
        request: What is asked.
        read: Makes of the answer what is wanted of it.
        verify: Whether certificates must be trusted; or a file of those that are.
        trust_env: Whether proxies are taken from the environment.

    Raises:
        HttpError: If anything goes wrong, here or in reading the body.
    """
    token = _silent.set(True)
    try:
        return _ask(dialer, request, read, verify=verify, trust_env=trust_env)
    except (requests.RequestException, Urllib3Error, HTTPException, OSError, ValueError) as error:
        failure = explain(error, request.target.place)
    finally:
        _silent.reset(token)
    # Raised out here, it does not hold the foreign error, whose text has the whole URL.
    raise failure


def _ask(
    dialer: Dialer,
    request: Request,
    read: Callable[[Reply], T],
    *,
    verify: bool | str,
    trust_env: bool,
) -> T:
    url = request.target.url
    prepared = requests.Request(
        request.method, url, dict(request.headers), data=request.body
    ).prepare()
    adapter = _Adapter(dialer)
    try:
        response = adapter.send(
            prepared,
            stream=True,
            timeout=dialer.deadline.remaining(),
            verify=verify,
            proxies=get_environ_proxies(url) if trust_env else {},
        )
        try:
            names = {name.lower(): value for name, value in response.headers.items()}
            return read(Reply(response.status_code, names, _chunks(response.raw)))
        finally:
            response.close()
    finally:
        adapter.close()


def _chunks(raw: Any) -> Iterator[bytes]:
    while chunk := raw.read1(_PIECE, decode_content=False):
        yield chunk
