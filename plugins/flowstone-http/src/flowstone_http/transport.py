"""Transport: sends one request over requests and urllib3, with connections of `Connector`.

Only `requests.adapters.HTTPAdapter` is used. A `requests.Session` would read the bodies of
redirects without a limit, send credentials of ``~/.netrc``, and keep cookies.
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

from flowstone_http.connector import Connector
from flowstone_http.deadline import TimedSocket
from flowstone_http.errors import RefusedError, translate_error
from flowstone_http.request import Request

T = TypeVar("T")

_PIECE = 16 * 1024

_silent: ContextVar[bool] = ContextVar("flowstone_http_silent", default=False)


def _is_to_be_logged(_record: logging.LogRecord) -> bool:
    return not _silent.get()


# urllib3 logs whole URLs, and malformed headers. The filter silences only the requests of this
# plugin; other users of urllib3 in this process keep their log.
for _name in ("connection", "connectionpool", "poolmanager", "response", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_is_to_be_logged)


class _VettedConnection:
    """Mixin for connections opened by a `Connector`, with the deadline on every read and write."""

    connector: Connector
    sock: Any  # a socket, and once it is connected a `TimedSocket`

    def _new_conn(self: Any) -> Any:
        return self.connector.connect(self._dns_host, self.port)

    def _tunnel(self: Any) -> None:
        bare, self.sock = self.sock, TimedSocket(self.sock, self.connector.deadline)
        super()._tunnel()  # type: ignore[misc]  # of the class that it is mixed into
        self.sock = bare

    def connect(self: Any) -> None:
        super().connect()  # type: ignore[misc]  # of the class that it is mixed into
        self.sock = TimedSocket(self.sock, self.connector.deadline)


class _Connection(_VettedConnection, HTTPConnection):
    pass


class _TlsConnection(_VettedConnection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def _validate_conn(self, conn: Any) -> None:
        # The original warns at each unverified request; the sensor warns once.
        if conn.is_closed:
            conn.connect()


class _Adapter(HTTPAdapter):
    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._pools: list[Any] = []
        super().__init__(pool_connections=1, pool_maxsize=1)

    def close(self) -> None:
        # urllib3 leaves the connections of a pool to the garbage collector.
        for pool in self._pools:
            pool.close()
        super().close()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._equip(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy.lower().startswith("socks"):
            raise RefusedError(
                "unsupported SOCKS proxy in the environment",
                hint="set trust_env = false, or use an HTTP proxy",
            )
        return self._equip(super().proxy_manager_for(proxy, **kwargs))

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        make = pool._new_conn  # noqa: SLF001 - the pool has no public factory of connections

        def equipped() -> Any:
            connection = make()
            connection.connector = self._connector  # type: ignore[attr-defined]
            return connection

        self._pools.append(pool)
        pool._new_conn = equipped  # type: ignore[method-assign]  # noqa: SLF001
        return pool

    def _equip(self, manager: PoolManager) -> PoolManager:
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager


@dataclass(frozen=True, slots=True)
class RawResponse:
    """Response whose body has not been read."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


def send_request(
    connector: Connector,
    request: Request,
    read: Callable[[RawResponse], T],
    *,
    verify: bool | str,
    trust_env: bool,
) -> T:
    """Send one request, return the result of ``read``, and close the connection.

    Args:
        connector: Opens connections, within a deadline.
        request: The request.
        read: Converts the response.
        verify: Whether certificates must be trusted; or a file of trusted ones.
        trust_env: Whether proxies are taken from the environment.

    Raises:
        HttpError: If sending the request or reading the response fails.
    """
    token = _silent.set(True)
    try:
        return _send_request(connector, request, read, verify=verify, trust_env=trust_env)
    except (requests.RequestException, Urllib3Error, HTTPException, OSError, ValueError) as error:
        failure = translate_error(error, request.url.authority)
    finally:
        _silent.reset(token)
    # Raised outside of the handler, so that it does not hold the original error, whose text has
    # the whole URL.
    raise failure


def _send_request(
    connector: Connector,
    request: Request,
    read: Callable[[RawResponse], T],
    *,
    verify: bool | str,
    trust_env: bool,
) -> T:
    url = request.url.text
    prepared = requests.Request(
        request.method, url, dict(request.headers), data=request.body
    ).prepare()
    adapter = _Adapter(connector)
    try:
        response = adapter.send(
            prepared,
            stream=True,
            timeout=connector.deadline.remaining(),
            verify=verify,
            proxies=get_environ_proxies(url) if trust_env else {},
        )
        try:
            names = {name.lower(): value for name, value in response.headers.items()}
            return read(RawResponse(response.status_code, names, _chunks(response.raw)))
        finally:
            response.close()
    finally:
        adapter.close()


def _chunks(raw: Any) -> Iterator[bytes]:
    while chunk := raw.read1(_PIECE, decode_content=False):
        yield chunk
