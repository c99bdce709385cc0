"""Secrets: a canary in every secret setting never appears in any output."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flowstone_http import Webhook

from flowstone_core import Flowstone, Triggered
from flowstone_core.cli import main

CANARY = "c4n4ry-Z9qXv7Kp"

Make = Callable[..., Webhook]


def secrets(url: str) -> dict[str, object]:
    return {
        "url": f"{url}/hooks/{CANARY}?sig={CANARY}",
        "headers": [f"X-Api-Key: {CANARY}", f"Cookie: a={CANARY}"],
        "bearer_token": CANARY,
        "method": "POST",
        "body": f'{{"key": "{CANARY}"}}',
    }


def drop(request: object, connection: socket.socket) -> None:
    connection.sendall(
        f"HTTP/1.1 200 {CANARY}\r\nX: {CANARY}\r\nContent-Length: 99\r\n\r\n".encode()
    )


def everything_of(error: BaseException) -> str:
    """The error as anything could show it: with its causes, and its locals' representations."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=False)
    seen, causes = [error], []
    while seen:
        each = seen.pop()
        causes.append(f"{each!r} {each.args!r} {each}")
        seen += [cause for cause in (each.__cause__, each.__context__) if cause is not None]
    return "".join(shown.format()) + "".join(causes)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 401, "body": CANARY.encode(), "WWW_Authenticate": CANARY},
        {"status": 503, "Retry_After": CANARY},
        {"status": 307, "Location": f"http://{CANARY}.example/{CANARY}"},
        {"status": 302, "Location": f"ftp://{CANARY}/"},
        {"body": f"<html>{CANARY}".encode()},
        {"body": f'{{"{CANARY}": "{CANARY}", }}'.encode()},
        {"body": {"ok": CANARY}},
        {"body": CANARY.encode(), "Content_Encoding": "gzip"},
        {"body": CANARY.encode(), "Content_Encoding": CANARY},
        None,
    ],
)
def test_H9_errors_and_logs_hide_secrets(
    make_sensor: Make, server: Any, caplog: pytest.LogCaptureFixture, answer: dict[str, Any] | None
) -> None:
    if answer is None:
        server.say = drop
    else:
        server.answers(server.reply(**answer))
    sensor = make_sensor(**secrets(server.url), check="ok", partition="day")
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception) as caught:  # noqa: PT011
        sensor.poll(sensor.init())
    assert CANARY not in everything_of(caught.value)
    assert CANARY not in caplog.text
    assert CANARY not in repr(sensor.config) + repr(sensor.__dict__)


def test_H9_connection_errors_hide_secrets(
    make_sensor: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    sensor = make_sensor(**secrets(url))
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception) as caught:  # noqa: PT011
        sensor.poll(sensor.init())
    assert CANARY not in everything_of(caught.value) + caplog.text


def test_H9_other_users_of_urllib3_keep_their_logs(
    make_sensor: Make, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        sensor = make_sensor(**secrets(server.url))
        assert isinstance(sensor.poll(sensor.init()), Triggered)
        assert caplog.text == ""
        logging.getLogger("urllib3.connectionpool").debug("of somebody else")
        assert "of somebody else" in caplog.text


def test_H9_store_and_output_hide_secrets(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_TOKEN", CANARY)
    Path("setup.cfg").write_text(
        f"""
[flowstone:sensor:ready]
type = webhook
on_trigger = os:fspath
url = {server.url}/hooks/{CANARY}?sig={CANARY}
bearer_token = ${{SHOP_TOKEN}}
headers =
    X-Api-Key: {CANARY}
check = ok
partition = day
"""
    )
    server.answers(
        server.reply({"ok": False}),
        server.reply({"ok": True, "day": "2025-01-15"}, ETag=f'"{"a" * 2000}"'),
        server.reply(f"<b>{CANARY}".encode(), 500),
    )
    said = ""
    for command in (
        ["check", "--connect"],
        ["run", "--once"],
        ["run", "--once"],
        ["sensors", "show", "ready"],
        ["sensors", "show", "ready", "--json"],
        ["sensors", "poll", "ready", "--dry-run"],
        ["translate_error", "ready"],
        ["events", "list", "--json"],
        ["materializations", "list", "--json"],
        ["status", "--json"],
        ["--log-level", "debug", "run", "--once"],
    ):
        ended = CliRunner().invoke(main, command)
        said += ended.stdout + ended.stderr
    assert "status 500" in said
    assert f"localhost:{server.port}" in said
    assert CANARY not in said
    with Flowstone(store="sqlite:///flowstone.db") as flow:
        assert flow.events(), "the store has something to look at"
    for file in tmp_path.glob("flowstone.db*"):
        assert CANARY.encode() not in file.read_bytes()
