"""House of canaries: a project with a secret in every place that takes one, and its servers."""

from __future__ import annotations

import base64
import os
import re
import socket
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote

from click.testing import CliRunner

from flowstone_core.cli import main
from tests import forked

PATIENCE = 300
PLACES = (
    "access_key", "secret_key", "session_token", "queue_secret_key", "rows_url",
    "rows_password", "change_url", "notify_url", "http_path", "http_query",
    "http_header", "http_cookie", "http_body", "http_username", "http_password", "bearer_token",
    "own_token", "child_token", "from_environment",
)  # fmt: skip


def canary(place: str) -> str:
    """A secret that a URL, a header, JSON and a shell would all write in different ways."""
    return f"c4n{PLACES.index(place):02}ry9/+Z9q=&Xv7Kp"


CANARIES = {place: canary(place) for place in PLACES}


def found_in(text: str | bytes) -> list[str]:
    """Name the places whose secrets are in a text: as they are, quoted, or in base64."""
    raw = text if isinstance(text, bytes) else text.encode(errors="replace")
    # What is before the first special character is the same in every other form.
    return [place for place, secret in CANARIES.items() if forms_of(secret[:8]).search(raw)]


def forms_of(core: str) -> re.Pattern[bytes]:
    forms = [core]
    for before in range(3):
        text = base64.b64encode(bytes(before) + core.encode()).decode()
        forms.append(text[(before * 8 + 5) // 6 : (before + len(core)) * 8 // 6])
    return re.compile("|".join(map(re.escape, forms)).encode())


PIPELINE = '''
import logging
import os
import sys

from pydantic import SecretStr

from flowstone_core import Event, NotTriggered, Pipeline, Sensor, SensorConfig, Triggered

pipeline = Pipeline("shop")
ALL = os.environ["CANARIES"]


class OwnConfig(SensorConfig):
    token: SecretStr
    other: str = ""


class Own(Sensor[OwnConfig, int]):
    """Finds something once, and then says its secret in every way that it knows."""

    Config = OwnConfig

    def init(self):
        return 0

    def poll(self, state):
        token = self.config.token.get_secret_value()
        self.context.logger.warning("polling with %s", token, extra={"header": f"Bearer {token}"})
        logging.getLogger("library").error("GET /?token=%s", token)
        if state == 0:
            return Triggered(Event("eu", key="first", payload={"rows": 1}), 1)
        try:
            raise ConnectionError(f"refused {token!r}")
        except ConnectionError as error:
            raise RuntimeError(f"cannot log in: {token} {ALL}") from error

    def connect(self):
        raise RuntimeError(f"cannot connect: {ALL}")

    def cleanup(self):
        raise RuntimeError(f"cannot close: {ALL}")


class Dying(Own):
    """Says its secret, and takes its process with it."""

    def poll(self, state):
        token = self.config.token.get_secret_value()
        self.context.logger.error("dying with %s", token)
        raise SystemExit(f"no way with {token} {ALL}")


@pipeline.asset(max_attempts=1)
def made(context):
    """Make it, or say why not."""
    context.logger.error("making with %s", ALL)
    raise RuntimeError(f"cannot make {context.partition}: {ALL}") from ValueError(ALL)


@pipeline.asset
def well(context):
    context.logger.info("well with %s", ALL)
    return {"rows": 1}


soon = {"asset": "made", "backoff": "1ms", "every": "1s"}
child = os.environ["CHILD_TOKEN"]
pipeline.sensor("own", Own, token=os.environ["OWN_TOKEN"], **soon)
pipeline.sensor("dying", Own, token=child, isolation="process", **soon)
pipeline.sensor("leaving", Dying, token=child, **soon)
pipeline.schedule("well", cron="* * * * *", catchup="all")


def partition(at):
    raise RuntimeError(f"no partition: {ALL}")


pipeline.schedule("made", name="failing", cron="* * * * * *", partition_fn=partition)
'''

AWS = """
region = eu-central-1
endpoint_url = http://127.0.0.1:{port}
access_key = {access_key}
"""

ROWS = """
type = database_rows
table = sale
mode = incrementing
id_column = id
partition_column = region
"""

SENSORS = {
    "files": AWS
    + """
type = s3_file_arrival
bucket = shop
prefix = orders/${{FROM_ENVIRONMENT}}/
secret_key = {secret_key}
session_token = {session_token}
""",
    "queue": AWS
    + """
type = s3_event_queue
queue_url = http://127.0.0.1:{port}/1/queue
secret_key = {queue_secret_key}
""",
    "rows": ROWS
    + """
url = postgresql://reader:{rows_url}@127.0.0.1:{closed}/shop
""",
    "rows_by_password": ROWS
    + """
url = postgresql://reader@127.0.0.1:{closed}/shop
password = {rows_password}
""",
    "change": """
type = database_change
url = postgresql://127.0.0.1:{closed}/shop?user=reader&password={change_url}
query = SELECT 1
""",
    "notify": """
type = postgres_notify
url = postgresql://reader:{notify_url}@127.0.0.1:{closed}/shop
channel = sales
""",
    "hook": """
type = webhook
url = http://127.0.0.1:{port}/hooks/{http_path}?sig={http_query}
method = POST
headers =
    X-Api-Key: {http_header}
    Cookie: session={http_cookie}
body = {{"key": "{http_body}"}}
bearer_token = {bearer_token}
check = ok
partition = day
""",
    "basic": """
type = webhook
url = http://127.0.0.1:{port}/basic
username = {http_username}
password = {http_password}
partition = day
""",
}

CONFIGURATION = """
[flowstone]
store = sqlite:///flowstone.db
pipelines = shop:pipeline
grace = 5s
""" + "".join(
    f"\n[flowstone:sensor:{name}]\nasset = made\nbackoff = 1ms\nevery = 1s{settings}"
    for name, settings in SENSORS.items()
)


class Hostile(BaseHTTPRequestHandler):
    """Sends back whatever it is sent, and all it knows, in its errors."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        said = f"{self.path} {self.headers} {self.rfile.read(length).decode('latin-1')}"
        said += " ".join(CANARIES.values())
        said += base64.b64encode(said.encode()).decode()
        text = said.replace("&", "&amp;").replace("<", "&lt;")
        body = f"<Error><Code>Refused</Code><Message>{text}</Message></Error>".encode()
        self.send_response_only(400, " ".join(CANARIES.values()))
        self.send_header("X-Said", " ".join(CANARIES.values()))
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_HEAD = do_GET  # noqa: N815 - the names are the protocol's

    def log_message(self, *arguments: object) -> None:
        pass


class House:
    """A folder with the configuration, a hostile server, and all that was said there."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.environ = {
            "CANARIES": " ".join(CANARIES.values()),
            "OWN_TOKEN": canary("own_token"),
            "CHILD_TOKEN": canary("child_token"),
            "FROM_ENVIRONMENT": canary("from_environment"),
            "PYTHONPATH": str(folder),
            "NO_PROXY": "127.0.0.1",
        }
        self.said: dict[str, str] = {}
        with socket.create_server(("127.0.0.1", 0)) as closed:
            closed_port = closed.getsockname()[1]
        quoted = {"rows_url", "change_url", "notify_url", "http_path", "http_query"}
        written = {
            place: quote(secret, safe="") if place in quoted else secret
            for place, secret in CANARIES.items()
        }
        text = CONFIGURATION.format(port=port, closed=closed_port, **written)
        (folder / "setup.cfg").write_text(text.replace("%", "%%"), "utf-8")
        (folder / "shop.py").write_text(PIPELINE, "utf-8")

    def run(self, *arguments: str) -> int:
        """Run a command in a process of its own."""
        ended = forked.run(
            [sys.executable, "-m", "flowstone_core", *arguments],
            cwd=self.folder,
            env=os.environ | self.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.said[" ".join(arguments)] = ended.stdout + ended.stderr
        return ended.returncode

    def command(self, *arguments: str) -> int:
        """Run a command in this process."""
        result = CliRunner().invoke(main, arguments)
        self.said[" ".join(arguments)] = result.stdout + result.stderr
        return result.exit_code
