"""A server that misbehaves in each way that servers do, and what a poll makes of it."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import ssl
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flowstone_http import Webhook
from flowstone_http.body import read_body
from flowstone_http.connector import is_public
from flowstone_http.deadline import Deadline
from flowstone_http.errors import (
    ContentError,
    HttpError,
    HttpTimeoutError,
    HttpUnavailableError,
    RefusedError,
    StatusError,
    TlsError,
    translate_error,
)

from flowstone_core import RetryLater, Triggered

Make = Callable[..., Webhook]


def failure(sensor: Webhook, kind: type[Exception]) -> str:
    """Poll once, which must fail in one way; return what is said."""
    with pytest.raises(kind) as caught:
        sensor.poll(sensor.init())
    assert type(caught.value) is kind
    return str(caught.value)


def fires(sensor: Webhook) -> bool:
    return isinstance(sensor.poll(sensor.init()), Triggered)


# -- H1: slow --------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DRIPS = {
    "a body with a length": (HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "a body without an end": (HEAD + b"\r\n", b"x"),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "headers": (HEAD, b"X-More: yes\r\n"),
    "one header": (HEAD + b"X-More: ", b"x"),
    "the status line": (b"HTTP/1.1 ", b" "),
    "informational answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("what", DRIPS)
def test_H1_dripping_response_keeps_the_deadline(make_sensor: Make, server: Any, what: str) -> None:
    begins, goes_on = DRIPS[what]

    def drip(request: object, connection: socket.socket) -> None:
        connection.sendall(begins)
        while not server.going.wait(0.02):
            connection.sendall(goes_on)

    server.say = drip
    said = failure(make_sensor(timeout="300ms", max_bytes=10_000_000), HttpTimeoutError)
    assert said.startswith("response incomplete after 0.3 s")


def test_H1_silent_server_times_out(make_sensor: Make, server: Any) -> None:
    server.say = lambda request, connection: server.going.wait(30) and None
    failure(make_sensor(timeout="200ms"), HttpTimeoutError)


def test_H1_deadline_covers_all_redirects(make_sensor: Make, server: Any) -> None:
    def slowly(request: Any, connection: socket.socket) -> bytes:
        server.going.wait(0.1)
        return bytes(server.reply(b"", 302, Location=f"/{len(server.seen)}"))

    server.say = slowly
    failure(make_sensor(timeout="250ms", max_redirects=20), HttpTimeoutError)


def test_H1_stalled_upload_times_out(make_sensor: Make, serve: Callable[..., Any]) -> None:
    # It accepts connections, and reads nothing of them.
    with socket.create_server(("127.0.0.1", 0), backlog=1) as deaf:
        sensor = make_sensor(
            url=f"http://127.0.0.1:{deaf.getsockname()[1]}/",
            method="POST",
            body="x" * 50_000_000,
            timeout="300ms",
        )
        failure(sensor, HttpTimeoutError)


def test_H1_stalled_tls_handshake_times_out(make_sensor: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        sensor = make_sensor(url=f"https://127.0.0.1:{deaf.getsockname()[1]}/", timeout="200ms")
        failure(sensor, HttpTimeoutError)


# -- H2: large -------------------------------------------------------------------------------------


def test_H2_body_over_limit_is_refused(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply(b"x" * 1001))
    assert "more than 1,000 bytes" in failure(make_sensor(max_bytes=1000), RefusedError)
    server.answers(server.reply(b"x" * 1000))
    assert fires(make_sensor(max_bytes=1000))


def test_H2_endless_body_is_refused_at_limit(make_sensor: Make, server: Any) -> None:
    def endless(request: object, connection: socket.socket) -> None:
        connection.sendall(HEAD + b"\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    server.say = endless
    failure(make_sensor(max_bytes=100_000), RefusedError)


def test_H2_limit_applies_after_decompression(make_sensor: Make, server: Any) -> None:
    bomb = gzip.compress(b"0" * 200_000_000, 9)
    assert len(bomb) < 300_000
    server.answers(server.reply(bomb, Content_Encoding="gzip"))
    said = failure(make_sensor(max_bytes=1_000_000), RefusedError)
    assert "more than 1,000,000 bytes" in said


def test_H2_redirect_body_is_not_read(make_sensor: Make, server: Any) -> None:
    bomb = gzip.compress(b"0" * 50_000_000, 9)
    first = server.reply(bomb, 302, Content_Encoding="gzip", Location="/there")
    server.answers(first, server.reply({}))
    assert fires(make_sensor(max_bytes=1000))


def test_H2_gzip_members_are_read(make_sensor: Make, server: Any) -> None:
    body = json.dumps({"ok": True, "filler": "x" * 100_000}).encode()
    several = gzip.compress(body[:50_000]) + gzip.compress(body[50_000:])
    for packed in (gzip.compress(body), several, several + b"\0" * 512):
        server.answers(server.reply(packed, Content_Encoding="gzip"))
        assert fires(make_sensor(check="ok"))
    assert server.seen[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"no gzip at all", "gzip", "Content-Encoding is gzip, but the body is not"),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-4], "gzip", "truncated gzip body"),
        (gzip.compress(b'{"a": 1}' * 5000, mtime=0)[:40], "gzip", "truncated gzip body"),
        (zlib.compress(b"{}"), "deflate", "unsupported Content-Encoding"),
        (b"{}", "zstd", "unsupported Content-Encoding"),
    ],
)
def test_H2_invalid_compression_is_refused(
    make_sensor: Make, server: Any, body: bytes, encoding: str, said: str
) -> None:
    server.answers(server.reply(body, Content_Encoding=encoding))
    assert said in failure(make_sensor(), ContentError)


# -- H3: not what it claims ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!doctype html><title>Sign in", "HTML or XML"),
        (b'{"a": 1,}', "syntax error"),
        (b'{"a": 1', "syntax error"),
        (b"", "empty body"),
        (b" \n", "empty body"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "byte order mark"),
        ('{"a": "Käse"}'.encode("latin-1"), "not in UTF-8"),
        (b'{"a": 1, "a": 2}', "duplicate key in an object"),
        (b'{"a": NaN}', "unsupported number NaN"),
        (b'{"a": -Infinity}', "unsupported number -Infinity"),
        (b'{"a": 1e999}', "number too large"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "number too large"),
        (b"[" * 100_000 + b"]" * 100_000, "nested more than 64 deep"),
    ],
)
def test_H3_invalid_json_error_describes_the_response(
    make_sensor: Make, server: Any, body: bytes, said: str
) -> None:
    server.answers(server.reply(body))
    text = failure(make_sensor(check="a"), ContentError)
    assert said in text
    assert "status 200, content type application/json" in text
    assert f"{len(body):,} bytes that begin" in text


def test_H3_invalid_json_error_masks_the_body(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply(b'{"token": "hunter22"', Content_Type="text/plain"))
    text = failure(make_sensor(check="a"), ContentError)
    assert 'begin \'{"xxxxx": "xxxxxx00"\'' in text
    assert "content type text/plain" in text


def test_H3_other_charset_is_refused_unless_ascii(make_sensor: Make, server: Any) -> None:
    kind = "application/json; charset=iso-8859-1"
    server.answers(server.reply('{"a": "Käse"}'.encode(), Content_Type=kind))
    assert "declared charset is not UTF-8" in failure(make_sensor(check="a"), ContentError)
    server.answers(server.reply(b'{"a": "x", "b": true}', Content_Type=kind))
    assert fires(make_sensor(check="b"))


def test_H3_brackets_within_texts_do_not_count(make_sensor: Make, server: Any) -> None:
    server.answers(server.reply({"a": "[" * 500 + '\\"{', "b": True}))
    assert fires(make_sensor(check="b"))


# -- H4: asked to wait -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("120", timedelta(seconds=120)),
        ("Wed, 15 Jan 2025 12:10:30 GMT", timedelta(minutes=10)),
        ("315360000", timedelta(hours=1)),
        ("9" * 5000, timedelta(hours=1)),
        ("Sat, 13 Jan 2035 12:00:00 GMT", timedelta(hours=1)),
    ],
)
def test_H4_retry_after_is_honoured_up_to_an_hour(
    make_sensor: Make, server: Any, status: int, text: str, delay: timedelta
) -> None:
    server.answers(server.reply({}, status, Retry_After=text))
    sensor = make_sensor()
    with pytest.raises(RetryLater) as caught:
        sensor.poll(sensor.init())
    assert caught.value.delay == delay


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "soon", "1.5", "Wed, 15 Jan 2025 11:00:00 GMT", "Wed, 99 Foo"]
)
def test_H4_invalid_retry_after_is_left_to_backoff(
    make_sensor: Make, server: Any, text: str
) -> None:
    server.answers(server.reply({}, 503, Retry_After=text))
    failure(make_sensor(), StatusError)


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


def of(*addresses: str) -> Callable[[str, int], list[tuple[int, tuple[str, int]]]]:
    """Response for the DNS: these addresses, one more at each question."""
    waiting = list(addresses)

    def look_up(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        address = waiting.pop(0) if waiting[1:] else waiting[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, (address, port))]

    return look_up


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


# -- H7: no connection -----------------------------------------------------------------------------


def test_H7_unknown_name_is_reported(make_sensor: Make) -> None:
    def unknown(host: str, port: int) -> list[Any]:
        raise socket.gaierror("no such name")

    sensor = make_sensor(url="http://nobody.example/", look_up=unknown)
    said = failure(sensor, HttpUnavailableError)
    assert "cannot resolve host 'nobody.example'" in said
    sensor = make_sensor(url="http://nobody.example/", look_up=lambda host, port: [])
    failure(sensor, HttpUnavailableError)


def test_H7_closed_port_is_reported(make_sensor: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    said = failure(make_sensor(url=f"http://localhost:{port}/"), HttpUnavailableError)
    assert f"localhost refuses connections: port {port}" in said


def test_H7_next_address_is_tried(make_sensor: Make, server: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("127.0.0.1", server.port))]
    assert fires(make_sensor(look_up=lambda host, port: found))


def test_H7_unresponsive_host_gets_its_share_of_time(
    make_sensor: Make,
) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        sensor = make_sensor(url=f"http://127.0.0.1:{address[1]}/", timeout="300ms")
        said = failure(sensor, HttpTimeoutError)
        assert "did not accept a connection in time" in said
        for each in waiting:
            each.close()


@pytest.mark.parametrize(
    "says",
    [
        b"",
        HEAD + b"Content-Length: 10\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    ],
)
def test_H7_broken_connection_is_reported(make_sensor: Make, server: Any, says: bytes) -> None:
    server.say = lambda request, connection: says
    said = failure(make_sensor(), HttpUnavailableError)
    assert "the connection broke off" in said


def test_H7_reset_connection_is_reported(make_sensor: Make, server: Any) -> None:
    def reset(request: object, connection: socket.socket) -> None:
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    server.say = reset
    assert "the connection broke off" in failure(make_sensor(), HttpUnavailableError)


@pytest.mark.parametrize(
    "says", [b"SSH-2.0-OpenSSH_9.0\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 50]
)
def test_H7_foreign_protocol_is_reported(make_sensor: Make, server: Any, says: bytes) -> None:
    server.say = lambda request, connection: says
    assert "does not speak valid HTTP" in failure(make_sensor(), HttpError)


def test_H7_trusted_tls_is_accepted(
    make_sensor: Make,
    serve: Callable[..., Any],
    tls: Callable[..., ssl.SSLContext],
    ca_file: str,
) -> None:
    safe = serve(context=tls())
    assert fires(make_sensor(url=f"{safe.url}/", ca_file=ca_file))
    said = failure(make_sensor(url=f"{safe.url}/"), TlsError)
    assert "the certificate is not trusted" in said
    assert len(safe.seen) == 1


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("localhost", {"not_after": datetime(2020, 1, 2, tzinfo=UTC)}, "has expired"),
        ("localhost", {"not_before": datetime(2125, 1, 2, tzinfo=UTC)}, "is not valid yet"),
        ("other.example", {}, "is for another host"),
    ],
)
def test_H7_invalid_certificate_is_reported(
    make_sensor: Make,
    serve: Callable[..., Any],
    tls: Callable[..., ssl.SSLContext],
    ca_file: str,
    name: str,
    options: dict[str, datetime],
    said: str,
) -> None:
    if "not_before" in options:
        options = options | {"not_after": datetime(2126, 1, 2, tzinfo=UTC)}
    if "not_after" in options and "not_before" not in options:
        options = options | {"not_before": datetime(2020, 1, 1, tzinfo=UTC)}
    safe = serve(context=tls(name, **options))
    assert said in failure(make_sensor(url=f"{safe.url}/", ca_file=ca_file), TlsError)
    assert safe.seen == []


def test_H7_ip_address_requires_its_certificate(
    make_sensor: Make, serve: Callable[..., Any], tls: Callable[..., ssl.SSLContext], ca_file: str
) -> None:
    safe = serve(context=tls("localhost"))
    url = f"https://127.0.0.1:{safe.port}/"
    assert "another host" in failure(make_sensor(url=url, ca_file=ca_file), TlsError)


def test_H7_disabled_verification_warns_at_each_start(
    make_sensor: Make,
    serve: Callable[..., Any],
    tls: Callable[..., ssl.SSLContext],
    caplog: pytest.LogCaptureFixture,
) -> None:
    safe = serve(context=tls())
    sensor = make_sensor(url=f"{safe.url}/?sig=s1gn", verify="false")
    with caplog.at_level(logging.WARNING):
        assert fires(sensor)
        assert fires(sensor)
        assert caplog.text.count("verify = false") == 1
        assert fires(make_sensor(url=f"{safe.url}/", verify="false"))
        assert caplog.text.count("verify = false") == 2
    assert "s1gn" not in caplog.text


def test_H7_http_on_tls_port_and_reverse_are_reported(
    make_sensor: Make, server: Any, serve: Callable[..., Any], tls: Callable[..., ssl.SSLContext]
) -> None:
    said = failure(make_sensor(url=f"https://localhost:{server.port}/"), TlsError)
    assert "TLS handshake failed" in said
    safe = serve(context=tls())
    sensor = make_sensor(url=f"http://localhost:{safe.port}/")
    with pytest.raises(HttpError):
        sensor.poll(sensor.init())


def test_H7_unreachable_address_is_reported(make_sensor: Make) -> None:
    sensor = make_sensor(url="http://nowhere.example/", look_up=of("255.255.255.255"))
    assert "nowhere.example cannot be reached" in failure(sensor, HttpUnavailableError)


# -- alone -----------------------------------------------------------------------------------------


def test_deadline_passed_raises() -> None:
    moments = iter([100.0, 101.5, 102.0])
    deadline = Deadline(lambda: next(moments), 2.0)
    assert deadline.remaining() == 0.5
    with pytest.raises(HttpTimeoutError, match="after 2 s"):
        deadline.remaining()


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1_000_000])
@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_gzip_in_any_chunks_is_read_completely(size: int, piece: int) -> None:
    body = b"0" * size
    packed = gzip.compress(body, mtime=0)
    chunks = [packed[start : start + piece] for start in range(0, len(packed), piece)]
    assert read_body(chunks, "gzip", 2_000_000) == body


def test_unforeseen_error_is_translated() -> None:
    found = translate_error(ValueError("s3cret"), "example.org")
    assert str(found).startswith("the server does not speak valid HTTP: example.org")
    told = ValueError("outer")
    told.__cause__ = told
    assert "s3cret" not in str(translate_error(told, "example.org"))
