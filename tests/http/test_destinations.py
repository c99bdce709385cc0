"""Faults of destinations: redirects (H5) and addresses (H6)."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from flowstone_http.connector import is_public
from flowstone_http.errors import (
    HttpUnavailableError,
    RefusedError,
)

from tests.http.faults_support import Make, failure, fires, of

# -- H5: redirects ---------------------------------------------------------------------------------

SECRETS = {
    "bearer_token": "t0ken",
    "headers": ["X-Api-Key: k3y", "Cookie: c00kie"],
    "url": "{url}/ready?sig=s1gn",
}


def sent_secrets(request: Any) -> set[str]:
    text = f"{request.line} {request.headers} {request.body!r}"
    return {secret for secret in ("t0ken", "k3y", "c00kie", "s1gn") if secret in text}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_H5_redirect_to_same_server_keeps_credentials(
    make_sensor: Make, server: Any, status: int
) -> None:
    server.answers(server.reply(b"", status, Location="/there"), server.reply({}))
    options = SECRETS | {"url": f"{server.url}/ready?sig=s1gn"}
    assert fires(make_sensor(**options))
    assert [request.path for request in server.seen] == ["/ready?sig=s1gn", "/there"]
    assert sent_secrets(server.seen[1]) == {"t0ken", "k3y", "c00kie"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_H5_redirect_to_another_server_drops_credentials(
    make_sensor: Make, server: Any, serve: Callable[..., Any], host: str
) -> None:
    other = serve()
    server.answers(server.reply(b"", 302, Location=f"http://u:p@{host}:{other.port}/x"))
    assert fires(make_sensor(**SECRETS | {"url": f"{server.url}/ready?sig=s1gn"}))
    (request,) = other.seen
    assert sent_secrets(request) == set()
    assert "authorization" not in request.headers
    assert "referer" not in request.headers


def test_H5_endless_redirects_are_refused(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply(b"", 302, Location="/ready"))
    assert "too many redirects: more than 5" in failure(make_sensor(), RefusedError)
    assert len(server.seen) == 6
    failure(make_sensor(max_redirects=0), RefusedError)
    assert len(server.seen) == 7


@pytest.mark.parametrize(
    "location", ["", "file:///etc/passwd", "ftp://localhost/", "http://", "//", "http://a:x/"]
)
def test_H5_redirect_to_invalid_url_is_refused(
    make_sensor: Make, server: Any, location: str
) -> None:
    server.answers(server.reply(b"", 302, Location=location))
    failure(make_sensor(), RefusedError)


def test_H5_downgrade_only_if_allowed(
    make_sensor: Make,
    server: Any,
    serve: Callable[..., Any],
    tls: Callable[..., ssl.SSLContext],
    ca_file: str,
) -> None:
    safe = serve(context=tls())
    safe.answers(safe.reply(b"", 302, Location=f"{server.url}/x"))
    options = {"url": f"{safe.url}/", "ca_file": ca_file, "bearer_token": "t0ken"}
    assert "from https to http" in failure(make_sensor(**options), RefusedError)
    assert server.seen == []
    assert fires(make_sensor(**options, allow_downgrade="true"))
    assert sent_secrets(server.seen[0]) == set()


def test_H5_redirected_post_becomes_get_or_keeps_body(make_sensor: Make, server: Any) -> None:
    options = {"method": "POST", "body": "b0dy"}
    for status, method, body in ((303, "GET", b""), (302, "GET", b""), (307, "POST", b"b0dy")):
        server.seen.clear()
        server.answers(server.reply(b"", status, Location="/there"), server.reply({}))
        assert fires(make_sensor(**options))
        assert (server.seen[1].line.split()[0], server.seen[1].body) == (method, body)


def test_H5_body_is_not_sent_to_another_server(
    make_sensor: Make, server: Any, serve: Callable[..., Any]
) -> None:
    other = serve()
    server.answers(server.reply(b"", 307, Location=f"{other.url}/x"))
    said = failure(make_sensor(method="POST", body="b0dy"), RefusedError)
    assert "redirects a request with a body" in said
    assert other.seen == []


# -- H6: addresses ---------------------------------------------------------------------------------

PRIVATE = [
    "0.0.0.0",  # noqa: S104 - to be refused
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "168.63.129.16", "224.0.0.1", "255.255.255.255", "::1",
    "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "::ffff:0:7f00:1", "192.0.0.192", "3fff::1",
    "5f00::1", "2001:470::5efe:7f00:1", "2001:470::200:5efe:7f00:1", "2002:7f00:1::",
    "::127.0.0.1", "fec0::1", "2001:0:1:2:3:4:5:6",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_H6_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["9.9.9.9", "2620:fe::fe", "64:ff9b::909:909", "::ffff:9.9.9.9"]
)
def test_H6_internet_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]",
     "[::ffff:127.0.0.1]"],
)  # fmt: skip
def test_H6_private_address_in_any_notation_is_refused(
    make_sensor: Make, server: Any, host: str
) -> None:
    sensor = make_sensor(url=f"http://{host}:{server.port}/", allow_private="false")
    with pytest.raises((RefusedError, HttpUnavailableError)) as caught:
        sensor.poll(sensor.init())
    assert server.seen == []
    assert "private address" in str(caught.value) or "cannot resolve host" in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "10.1.2.3"])
def test_H6_name_with_private_address_is_refused(
    make_sensor: Make, server: Any, address: str
) -> None:
    sensor = make_sensor(
        url=f"http://rebind.example:{server.port}/", allow_private="false", look_up=of(address)
    )
    assert "rebind.example has a private address" in failure(sensor, RefusedError)
    assert server.seen == []


def test_H6_one_private_among_public_addresses_is_refused(make_sensor: Make, server: Any) -> None:
    found = [(socket.AF_INET, ("127.0.0.1", server.port)), (socket.AF_INET, ("9.9.9.9", 80))]
    sensor = make_sensor(
        url="http://both.example/", allow_private="false", look_up=lambda host, port: found
    )
    failure(sensor, RefusedError)


def test_H6_each_redirect_is_checked(make_sensor: Make, server: Any, monkeypatch: Any) -> None:
    """The first hop is let through as if its address were public; the second one is looked up."""
    looked_at: list[str] = []

    def looks_public(address: str) -> bool:
        looked_at.append(address)
        return len(looked_at) == 1

    monkeypatch.setattr("flowstone_http.sensor.is_public", looks_public)
    target = f"http://rebind.example:{server.port}/secret"
    server.answers(server.reply(b"", 302, Location=target))
    sensor = make_sensor(allow_private="false", look_up=of("127.0.0.1"))
    failure(sensor, RefusedError)
    assert looked_at == ["127.0.0.1", "127.0.0.1"]
    assert len(server.seen) == 1


def test_H6_checked_address_is_the_connected_one(make_sensor: Make, server: Any) -> None:
    """A name that leads elsewhere when it is asked again gains nothing: it is asked once."""
    sensor = make_sensor(
        url=f"http://rebind.example:{server.port}/", look_up=of("127.0.0.1", "192.0.2.1")
    )
    assert fires(sensor)
    assert server.seen[0].headers["host"] == f"rebind.example:{server.port}"


def test_H6_environment_proxies_only_with_trust_env(
    make_sensor: Make, server: Any, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve()
    monkeypatch.setenv("http_proxy", proxy.url)
    assert fires(make_sensor())
    assert proxy.seen == []
    assert fires(make_sensor(trust_env="true"))
    (request,) = proxy.seen
    assert request.line == f"GET {server.url}/ready HTTP/1.1"
    assert len(server.seen) == 1


def test_H6_proxy_tunnels_and_verifies_tls(
    make_sensor: Make,
    serve: Callable[..., Any],
    tls: Callable[..., ssl.SSLContext],
    ca_file: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    safe, proxy = serve(context=tls()), serve()

    def tunnel(request: Any, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", safe.port)) as beyond:
            connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            back = threading.Thread(target=pump, args=(beyond, connection), daemon=True)
            back.start()
            pump(connection, beyond)
            back.join(30)

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    proxy.say = tunnel
    monkeypatch.setenv("https_proxy", proxy.url)
    sensor = make_sensor(
        url=f"{safe.url}/ready", ca_file=ca_file, trust_env="true", bearer_token="t0ken"
    )
    assert fires(sensor)
    assert proxy.seen[0].line.startswith(f"CONNECT localhost:{safe.port} HTTP/1.")
    assert sent_secrets(proxy.seen[0]) == set()


def test_H6_socks_proxy_is_refused(make_sensor: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    assert "SOCKS" in failure(make_sensor(trust_env="true"), RefusedError)
