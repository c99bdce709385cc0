"""Faults of HTTP servers, and the error of each."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import ssl
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flowstone_http.body import read_body
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

from flowstone_core import RetryLater
from tests.http.faults_support import Make, failure, fires, of

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
        (b" \n", "empty body"),
        (b'\xef\xbb\xbf{"a": 1', "syntax error"),
        (b"\xef\xbb\xbf<html>", "HTML or XML"),
        (b'\xff\xfe{\x00"', "not in UTF-16"),
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
