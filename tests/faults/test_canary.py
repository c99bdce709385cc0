"""Secrets in every place that takes one, and a search for them in everything that comes out.

What is known to be secret, and hidden wherever it turns up, in any form:

* settings of type ``SecretStr``, and those whose name says that they are secrets, whatever type;
* passwords in URLs and connection strings, in any setting;
* what ``${NAME}`` took from the environment, if it has 8 characters or the name says so.

So an exception's text, or a log line, may hold one of these: it is masked. What a sensor or an
asset function returns is data: partitions, keys, payloads, states and metadata are stored as they
are, and nobody can know what of it is secret; `SensorContract` tries that a sensor puts none of its
own secrets there. A secret that an asset function has from somewhere else, say ``os.environ``, is
known only if the configuration names it.

The sources here are hostile: whatever is sent to them they send back in their errors, plain and in
base64, together with all the other secrets.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import pytest

from flowstone_core.cli import main
from flowstone_core.model.clock import SystemClock
from tests import forked
from tests.faults.canary_house import PATIENCE, Hostile, House, canary, forms_of, found_in


def test_search_finds_every_form_of_a_secret() -> None:
    secret = canary("own_token")
    for form in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret), repr(secret)):
        assert found_in(f"a{form}b") == ["own_token"]
    for before in ("", "u:", "user:"):
        encoded = base64.b64encode(f"{before}{secret}".encode())
        assert found_in(b"Basic " + encoded) == ["own_token"]
    assert found_in("***") == []


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def house(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    house = House(tmp_path, port)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, value in house.environ.items():
        monkeypatch.setenv(name, value)
    yield house
    sys.modules.pop("shop", None)  # imported by the commands that ran in this process


def leaks(house: House) -> dict[str, list[str]]:
    """Name the secrets in what was said, and in each file of the store."""
    said = {where: found_in(text) for where, text in house.said.items()}
    stored = {path.name: found_in(path.read_bytes()) for path in house.folder.glob("flowstone.db*")}
    return {where: places for where, places in (said | stored).items() if places}


COMMANDS = {
    "backfill": ["well", "--from", "2025-01-01", "--to", "2025-01-02"],
    "backfills cancel": ["1"],
    "backfills list": [],
    "backfills show": ["1"],
    "check": ["--connect"],
    "db backup": ["copy.db"],
    "db copy": ["sqlite:///flowstone.db", "sqlite:///other.db", "--yes"],
    "db check": [],
    "db prune": [],
    "db upgrade": [],
    "events list": [],
    "explain": ["own"],
    "materializations cancel": ["1"],
    "materializations list": [],
    "materializations retry": ["1"],
    "materializations show": ["1"],
    "materialize": ["made", "2025-01-01"],
    "new-plugin": ["acme"],
    "plugins list": [],
    "plugins show": ["webhook"],
    "run": ["--once"],
    "schedules add": ["well", "--name", "other", "--cron", "@daily"],
    "schedules list": [],
    "schedules next": ["failing"],
    "schedules pause": ["failing"],
    "schedules remove": ["other"],
    "schedules resume": ["failing"],
    "schedules show": ["failing"],
    "schedules skipped": [],
    "schedules update": ["failing", "--jitter", "1s"],
    "sensors list": [],
    "sensors pause": ["own"],
    "sensors poll": ["own", "--dry-run"],
    "sensors remove": ["gone"],
    "sensors rename": ["gone", "own"],
    "sensors reset": ["own", "--yes"],
    "sensors resume": ["own"],
    "sensors show": ["own"],
    "status": [],
}
"""Every command there is, and what it is given."""

SOURCES = ("files", "queue", "rows", "change", "notify", "hook", "basic", "dying", "leaving")


def commands_under(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for word, inner in command.commands.items():
        yield from commands_under(inner, f"{name} {word}".strip())


def test_searched_commands_are_complete() -> None:
    assert sorted(COMMANDS) == sorted(name for name, _ in commands_under(main))


def test_X11_run_neither_shows_nor_stores_a_secret(house: House) -> None:
    """Hostile sources, polls and asset functions that crash, in both formats of the log."""
    assert house.run("run", "--once") == 1
    assert house.run("--log-format", "json", "--log-level", "debug", "run", "--once") == 1
    assert house.run("--log-level", "debug", "run", "--for", "1s") == 0
    said = "".join(house.said.values())
    # They were there to be said: each was masked where its error or its log line stands.
    for line in (
        "cannot log in: ***", "cannot make", "no way with ***", "no partition: ***", "making with",
        "polling with ***", "GET /?token=***", "cannot close: ***", "S3 refused", "status 400",
        "cannot be reached", "the SQS protocol",
    ):  # fmt: skip
        assert line in said, line
    with sqlite3.connect(house.folder / "flowstone.db") as store:
        errors = [row[0] for row in store.execute("SELECT error FROM flowstone_ticks") if row[0]]
        assert any("cannot log in: ***" in error for error in errors)
    store.close()
    assert leaks(house) == {}


def test_X11_store_of_a_killed_process_holds_no_secret(house: House) -> None:
    """Its write-ahead log, that is, which a process that ends in good order takes along."""
    log = house.folder / "log"
    with log.open("wb") as output:
        process = forked.Popen(
            [sys.executable, "-m", "flowstone_core", "run"],
            cwd=house.folder,
            env=os.environ | house.environ,
            stdout=output,
            stderr=output,
        )
    pause = SystemClock().waker()
    while not {"cannot log in", "cannot make", "S3 refused"} <= set(_said(log)):
        assert process.poll() is None, log.read_text()
        pause.wait(0.05)
    process.kill()
    process.wait(PATIENCE)
    assert (house.folder / "flowstone.db-wal").stat().st_size > 0
    assert found_in(log.read_bytes()) == []
    assert leaks(house) == {}


def _said(log: Path) -> list[str]:
    return re.findall(r"cannot log in|cannot make|S3 refused", log.read_text())


def test_X11_command_neither_shows_nor_stores_a_secret(house: House) -> None:
    """Every command, for people and as JSON, after a run in which everything failed."""
    house.command("run", "--once")
    house.command("run", "--once")
    takes_json = {
        name
        for name, command in commands_under(main)
        if any("--json" in parameter.opts for parameter in command.params)
    }
    for name, arguments in COMMANDS.items():
        house.command(*name.split(), *arguments)
        if name in takes_json:
            house.command(*name.split(), *arguments, "--json")
    for name in SOURCES:
        house.command("sensors", "show", name)
        house.command("explain", name)
    for name in ("files", "rows", "hook"):
        house.command("sensors", "poll", name, "--dry-run", "--json")
    assert "cannot log in: ***" in house.said["sensors show own --json"]
    assert "cannot make" in house.said["materializations show 1"]
    assert "token=***" in house.said["check --connect"]
    assert "bearer_token=***" in house.said["check --connect"]
    assert "no partition: ***" in house.said["schedules show failing"]
    assert all("Usage:" not in said for said in house.said.values())
    assert leaks(house) == {}
    assert found_in((house.folder / "copy.db").read_bytes()) == []


SECRET = "c4n99ry9/+Z9q=&Xv7Kp"

WRONG = {
    "a store that cannot be reached": "store = postgresql://fs:{quoted}@127.0.0.1:{closed}/fs",
    "a store without a host": "store = postgresql://fs:{quoted}@",
    "a store whose password breaks it": "store = postgresql://fs:{secret}@127.0.0.1:{closed}/fs",
    "a store of another kind": "store = oracle://fs:{quoted}@127.0.0.1:{closed}/fs",
    "a store without a colon": "store = postgresql//fs:{secret}@127.0.0.1/fs",
    "a store with a password behind": "store = sqlite:///x/y.db?password={quoted}",
    "an unknown setting that looks secret": "passwrod_token = {secret}",
    "a misspelt section": "[flowstone:senser:any]\npassword = {secret}",
    "a section with a value in it": "[flowstone:sensor:any = {secret}]",
    "a section that is not closed": "[flowstone:sensor:any password={secret}",
    "a line that is no setting": "[flowstone:sensor:any]\n{secret}",
    "a setting with a colon": "[flowstone:sensor:any]\npassword: {secret}",
    "a setting in capitals": "[flowstone:sensor:any]\nPASSWORD = {secret}",
    "a setting that is there twice": "[flowstone:sensor:any]\ntoken = {secret}\ntoken = {secret}",
    "an indented setting": "[flowstone:sensor:any]\ntype = webhook\n  password = {secret}",
    "a type that is not installed": "[flowstone:sensor:any]\ntype = x\napi_key = {secret}",
    "no asset": "[flowstone:sensor:any]\ntype = webhook\nbearer_token = {secret}",
    "a URL of another kind": "{hook}url = ftp://u:{quoted}@host/",
    "a URL without a host": "{hook}url = http://u:{secret}@/",
    "a URL with a blank": "{hook}url = http://host/a b?token={quoted}",
    "a URL that is only its secret": "{hook}url = {secret}",
    "a header without a colon": "{hook}url = http://host/\nheaders = {secret}",
    "a header with a strange name": "{hook}url = http://host/\nheaders = X Key: {secret}",
    "a header with a euro": "{hook}url = http://host/\nheaders = X: {secret}\u20ac",
    "two ways to log in": (
        "{hook}url = http://host/\nusername = {secret}\nbearer_token = {secret}"
    ),
    "a user name alone": "{hook}url = http://host/\nusername = {secret}",
    "a password alone": "{hook}url = http://host/\npassword = {secret}",
    "a secret key alone": "{files}secret_key = {secret}",
    "an access key alone": "{files}access_key = {secret}",
    "a session token alone": "{files}session_token = {secret}",
    "an endpoint with a password": "{files}endpoint_url = http://u:{quoted}@host:port/",
    "a database of another kind": "{rows}url = oracle://u:{quoted}@host/db",
    "a database without a password": "{rows}url = postgresql://u@host/db\npassword =",
    "two passwords": "{rows}url = postgresql://u:{quoted}@host/db\npassword = {secret}",
    "a database that is only its secret": "{rows}url = {secret}",
    "a database by words": "{rows}url = host=h user=u password={secret}",
    "a bad port": "{rows}url = postgresql://u:{quoted}@host:no/db",
    "a wrong setting beside a secret": "{rows}url = sqlite:///x.db\npassword = {secret}\nmode = no",
    "a variable in a wrong place": "engine = ${{WRONG_PLACE}}",
    "a variable in a number": "poll_threads = ${{WRONG_PLACE}}",
    "a variable in a duration": "{hook}url = http://host/\nevery = ${{WRONG_PLACE}}",
    "a variable in a pipeline": "pipelines = ${{WRONG_PLACE}}:pipeline",
    "a variable in a cron expression": (
        "[flowstone:schedule:any]\nasset=made\ncron = ${{WRONG_PLACE}}"
    ),
    "a variable in a zone": (
        "[flowstone:schedule:any]\nasset=made\ncron=@daily\ntimezone = ${{WRONG_PLACE}}"
    ),
    "a variable in a template": (
        "[flowstone:schedule:any]\nasset=made\ncron=@daily\npartition = ${{WRONG_PLACE}}${{no}}"
    ),
}  # fmt: skip

BEGINNINGS = {
    "hook": "[flowstone:sensor:any]\ntype = webhook\nasset = made\npartition = day\n",
    "files": "[flowstone:sensor:any]\ntype = s3_file_arrival\nasset = made\nbucket = b\n",
    "rows": "[flowstone:sensor:any]\ntype = database_rows\nasset = made\ntable = t\n",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_X11_validation_error_shows_no_secret(house: House, wrong: str, monkeypatch: Any) -> None:
    """Wrong values in secret places, and secrets in wrong places."""
    monkeypatch.setenv("WRONG_PLACE", SECRET)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        number = closed.getsockname()[1]
    quoted = quote(SECRET, safe="")
    text = WRONG[wrong].format(secret=SECRET, quoted=quoted, closed=number, **BEGINNINGS)
    text = f"[flowstone]\n{'' if 'pipelines' in text else 'pipelines = shop:pipeline'}\n{text}\n"
    Path("setup.cfg").write_text(text.replace("%", "%%"), "utf-8")
    codes = {house.command(*arguments) for arguments in (["check", "--connect"], ["status"])}
    said = "".join(house.said.values())
    assert codes <= {1, 2}, said
    assert "Traceback" not in said
    assert not forms_of(SECRET[:8]).search(said.encode()), said


def test_X11_store_error_shows_no_password(house: House) -> None:
    """In a real process, in both formats of the log, where it says most."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"postgresql://fs:{quote(SECRET, safe='')}@127.0.0.1:{closed.getsockname()[1]}/fs"
    text = f"[flowstone]\npipelines = shop:pipeline\nstore_wait = 0s\nstore = {url}\n"
    Path("setup.cfg").write_text(text.replace("%", "%%"), "utf-8")
    for form in ("keyvalue", "json"):
        assert house.run("--log-format", form, "--log-level", "debug", "run", "--once") == 1
    said = "".join(house.said.values())
    assert "postgresql://fs:***@127.0.0.1" in said
    assert not forms_of(SECRET[:8]).search(said.encode())
