"""Fuzz tests of configurations, partitions, outcomes and states: no traceback, no secret.

Derandomized and short here; ``make chaos`` runs many more random examples and prints how to repeat
each failure.
"""

from __future__ import annotations

import json
import os
import random
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flowstone_core import (
    CronTrigger,
    Event,
    EveryTrigger,
    NotTriggered,
    Pipeline,
    PollFailed,
    Sensor,
    SensorConfig,
    Skipped,
    Triggered,
    ValidationError,
    decode_partition,
    encode_partition,
)
from flowstone_core.config.file.reader import Config, load
from flowstone_core.config.validation import validate
from flowstone_core.errors import FlowstoneError
from flowstone_core.model.clock import SystemClock
from flowstone_core.model.duration import format_duration, parse_duration
from flowstone_core.model.json_document import Json, dump_document, load_document, same_document
from flowstone_core.model.partition import encode_value, format_partition, parse_partition
from flowstone_core.model.partition_range import partition_range
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.sensor_decision import Decision, SensorObservation, TickRules, decide
from flowstone_core.model.skipped_items import count_skipped, dump_skipped
from flowstone_core.model.tick import SensorCheckpoint
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.registry import Plugins
from flowstone_core.runtime.ticking.sensor_ticker import SensorTicker
from flowstone_core.scheduling.partition_template import PartitionTemplate

EVERY = bool(os.environ.get("FLOWSTONE_CHAOS"))
"""True for the long, random form of ``make chaos``."""

fuzz = settings(
    max_examples=5_000 if EVERY else 150,
    derandomize=not EVERY,
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
CANARY = "canary-5e1f"
NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)


def fit_to_show(text: str) -> bool:
    """Return True for a text without secrets, control characters and changes of direction."""
    obeyed = {"Cc", "Cs", "Zl", "Zp"}
    turns = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
    return CANARY not in text and not any(
        unicodedata.category(each) in obeyed or each in turns for each in text if each not in "\n\t"
    )


# -- configuration ---------------------------------------------------------------------------------

SOURCE = f"""\
[metadata]
name = shop
[flowstone]
store = postgresql://me:{CANARY}@host/flowstone
poll_threads = 4
grace = 10s

[flowstone:sensor:new_orders]
type = s3_file_arrival
every = 30s
asset = raw_orders
bucket = shop
prefix = orders/${{year}}/
access_key = AKIA
secret_key = {CANARY}

[flowstone:sensor:rows]
type = database_rows
asset = raw_orders
url = postgresql://me:{CANARY}@host/shop
query = SELECT *
    FROM orders
    WHERE id > 5
mode = incrementing
id_column = id

[flowstone:sensor:ready]
type = webhook
asset = report
url = https://host/ready?token=${{TOKEN}}
headers =
    Authorization: Bearer ${{TOKEN}}

[flowstone:schedule:daily]
asset = report
cron = 0 2 * * *
timezone = America/New_York
catchup = latest
metadata =
    owner = team
"""  # noqa: S608 - not executed
ROOT = Path(__file__).resolve().parents[2]
README = re.findall(r"^```ini\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
SHOP = (ROOT / "examples/shop/setup.cfg").read_text("utf-8")
# Without pipelines: an altered name may be the name of any module.
SOURCES = [re.sub(r"^pipelines.*\n", "", text, flags=re.M) for text in (SOURCE, SHOP, *README)]
PIECES = [
    b"\0", b"\r", b"\n", b"\r\n", b"\n\n", b" ", b"\t", b"    ", b"\x0b", b"\x85", b"\xff",
    b"[", b"]", b"=", b":", b"${", b"}", b"%", b"%(a)s", b"#", b";", b'"', b"\x1b[31m",
    b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"\xf0\x9f\x8c\x8a",
    b"[flowstone:sensor:]", b"[flowstone:", b"[flowstone]\n", b"[DEFAULT]\n", b"every = 0\n",
    b"=" * 300, b" " * 300, b"x" * 12_000,
]  # fmt: skip


@pytest.fixture(scope="module")
def installed() -> Plugins:
    return discover()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in a separate folder: pytest would read one above the folders of other tests."""
    return tmp_path_factory.mktemp("fuzz") / "setup.cfg"


def shop() -> Pipeline:
    pipeline = Pipeline("shop")
    for name in ("raw_orders", "report"):
        pipeline.asset(name=name)(lambda context: None)
    return pipeline


def findings_of(data: bytes, path: Path, plugins: Plugins) -> str:
    """Return the problems and warnings of a file."""
    path.write_bytes(data)
    config = Config()
    try:
        config = load(path, {"TOKEN": CANARY})
        validate(config, pipelines=[shop()], plugins=plugins)
    except ValidationError as error:
        return "\n".join([str(error), *map(str, config.warnings)])
    return "\n".join(map(str, config.warnings))


def altered(data: bytes, chance: random.Random) -> bytes:
    """Return a file with random edits; secrets stay whole, where they were."""
    lines = data.split(b"\n")
    loose = [number for number, line in enumerate(lines) if CANARY.encode() not in line]
    for _ in range(chance.randint(1, 6)):
        number = chance.choice(loose)
        line = lines[number]
        at, until = sorted(chance.choices(range(len(line) + 1), k=2))
        match chance.randrange(7):
            case 0:
                lines[number] = line[:at] + chance.choice(PIECES) + line[at:]
            case 1:
                lines[number] = line[:at] + line[until:]
            case 2:
                lines[number] = line[:at] + bytes([chance.randrange(256)]) + line[at + 1 :]
            case 3:
                lines[number] = lines[chance.choice(loose)]
            case 4:
                lines[number] = line + b"\n" + line
            case 5:
                lines[number] = chance.choice([b" ", b"\t", b""]) + line.strip()
            case _:
                lines[number] = chance.choice(PIECES)
    return b"\n".join(lines)


def test_unchanged_configuration_is_valid(tmp_path: Path, installed: Plugins) -> None:
    findings = findings_of(SOURCE.encode(), tmp_path / "setup.cfg", installed)
    assert fit_to_show(findings)
    assert "error" not in findings.lower()


@fuzz
@given(seed=st.integers(0, 2**32))
def test_C1_altered_file_is_read_or_refused_whole(
    seed: int, installed: Plugins, path: Path
) -> None:
    chance = random.Random(seed)  # noqa: S311 - seeded to be repeatable
    data = altered(chance.choice(SOURCES).encode(), chance)
    assert fit_to_show(findings_of(data, path, installed)), data


@fuzz
@given(data=st.binary(max_size=400))
@example(data=b"\xff\xfe[\0f\0")
@example(data=b"[flowstone")
def test_C1_file_of_any_bytes_is_read_or_refused(
    data: bytes, installed: Plugins, path: Path
) -> None:
    assert fit_to_show(findings_of(b"[flowstone]\n" + data, path, installed))
    assert fit_to_show(findings_of(data, path, installed))


# -- texts written by users ------------------------------------------------------------------------

WORDS = st.text(alphabet="0123456789*/,-LW#?@ aehmnorsuy:.\n\t", max_size=24) | st.text(max_size=40)


def parsed_range(text: str) -> object:
    first, _, last = text.partition("..")
    return partition_range(parse_partition(first), parse_partition(last or first), None)


@pytest.mark.parametrize(
    "read",
    [
        lambda text: CronTrigger(text).next_fire(NOW),
        lambda text: EveryTrigger(text).next_fire(NOW),
        lambda text: CronTrigger("0 0 * * *", timezone=text),
        lambda text: format_duration(parse_duration(text)),
        PartitionTemplate,
        parsed_range,
    ],
    ids=["cron", "every", "timezone", "duration", "template", "range"],
)
@fuzz
@given(text=WORDS)
@example(text="0 0 30 2 *")
@example(text="99999999999999999999d")
@example(text="*/0 * * * *")
@example(text="../../etc/passwd")
def test_C5_partition_text_is_parsed_or_refused(read: Callable[[str], object], text: str) -> None:
    try:
        read(text)
    except (ValidationError, ValueError) as error:
        assert fit_to_show(str(error))


# -- partitions ------------------------------------------------------------------------------------

MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))  # noqa: DTZ001
SCALARS = (
    st.text(max_size=40)
    | st.dates()
    | MOMENTS
    | MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple), max_leaves=6
)
TEXTS = st.text(max_size=60) | st.tuples(
    st.sampled_from(["d:", "dt:", "ndt:", "t:", "s:", "D:", "x:", ""]),
    st.text(alphabet="0123456789-:TZ+.W=_abcdefghijklmnopqrstuvwxyz", max_size=40),
).map("".join)


@fuzz
@given(value=VALUES)
def test_C6_partition_round_trip_keeps_value_and_type(value: object) -> None:
    try:
        text = encode_partition(value)
    except ValidationError as error:
        assert fit_to_show(str(error))
        return
    back = decode_partition(text)
    assert back == value
    assert type(back) is type(value)
    assert parse_partition(format_partition(back)) is not None


@fuzz
@given(text=TEXTS)
@example(text="d:20250115")
@example(text="d:2025-W03-3")
@example(text="s:YQ")
@example(text="s:YQ==")
@example(text="2025-01-15")
def test_C6_encoded_text_is_canonical_or_refused(text: str) -> None:
    try:
        value = decode_partition(text)
    except ValidationError as error:
        assert fit_to_show(str(error))
        return
    assert encode_value(value) == text


# -- outcomes and states ---------------------------------------------------------------------------


class Hostile:
    """Object that raises from every special method."""

    def _raise(self, *_: object, **__: object) -> object:
        raise BaseException(CANARY)  # noqa: TRY002 - any kind of error

    __str__ = __repr__ = __eq__ = __hash__ = __len__ = __iter__ = __bool__ = _raise  # type: ignore[assignment]
    __getattr__ = __lt__ = __int__ = __index__ = __fspath__ = __reduce_ex__ = _raise  # type: ignore[assignment]


class Odd(str):
    """Subclass of str whose own text is hostile."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"\x1b[31m{CANARY}\0"


def error_of(kind: type[BaseException], text: object) -> BaseException:
    return kind(text)


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=8)
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.sampled_from([object(), Odd("odd"), ..., NotImplemented, int, {1}, b"", 1j])
    | st.builds(Hostile)
)
OBJECTS = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
        | st.builds(lambda item: (each for each in [item]), inner)
    ),
    max_leaves=8,
)
ERRORS = st.builds(
    error_of,
    st.sampled_from([ValueError, KeyError, SystemExit, KeyboardInterrupt, GeneratorExit]),
    OBJECTS,
)
EVENTS = st.builds(
    lambda partition, key, asset, payload: Event(partition, key=key, asset=asset, payload=payload),
    OBJECTS,
    OBJECTS,
    OBJECTS,
    OBJECTS,
)


SKIPPED = (
    st.just(())
    | st.lists(st.builds(Skipped, OBJECTS, st.integers() | OBJECTS, OBJECTS), max_size=3)
    | st.lists(st.builds(Skipped, st.text(), st.integers(), st.text()), max_size=30)
    | OBJECTS
)


@st.composite
def outcomes(draw: st.DrawFn) -> object:
    """Return any value a poll could return: an outcome of any values, or any other object."""
    make = draw(st.sampled_from([Triggered, NotTriggered, PollFailed, None]))
    state = draw(OBJECTS)
    try:
        if make is Triggered:
            events = draw(
                st.lists(EVENTS | EVENTS.filter(bool) | st.just(Event("p")), max_size=3) | OBJECTS
            )
            return Triggered(events, state, draw(SKIPPED))
        if make is NotTriggered:
            return NotTriggered(state, draw(SKIPPED), draw(st.just("") | OBJECTS))
        if make is PollFailed:
            return PollFailed(draw(ERRORS | OBJECTS), state)
    except (FlowstoneError, TypeError, ValueError) as refused:
        return refused
    except BaseException as hostile:  # noqa: BLE001 - foreign code may raise anything
        return hostile
    return draw(OBJECTS | ERRORS)


RULES = TickRules("feed", "orders", {"orders"}, redact=Redactor([CANARY]))
STATES = st.none() | st.just("null") | st.builds(json.dumps, st.integers() | st.text(max_size=5))


@fuzz
@given(outcome=outcomes(), raised=st.booleans(), state=STATES)
def test_P4_P5_P19_any_outcome_or_error_is_decided(
    outcome: object, raised: bool, state: str | None
) -> None:
    checkpoint = SensorCheckpoint(version=3, state=state, polled=state is not None)
    raised = raised and isinstance(outcome, BaseException)
    decision = decide(RULES, checkpoint, SensorObservation(outcome, NOW, NOW, raised=raised))
    assert isinstance(decision, Decision)
    for commit in decision.commits:
        assert commit.error is None or fit_to_show(commit.error)
        assert all(map(fit_to_show, (*map(str, commit.skipped), commit.reason)))
        assert dump_skipped(commit.skipped) is None or count_skipped(commit.skipped) > 0
        assert load_document(commit.after.state or "null") is not Ellipsis
        for found in commit.events:
            assert encode_partition(decode_partition(found.partition)) == found.partition
            assert found.asset == "orders"
    if not decision.outcome.good and type(outcome) is not PollFailed:  # which may set a new state
        assert decision.commits[-1].after.state in {state, None}


class Content(Sensor[SensorConfig, Json]):
    """Sensor that accepts any state and keeps it."""

    def init(self) -> Json:
        return None

    def poll(self, state: Json) -> NotTriggered[Json]:
        return NotTriggered(state)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@fuzz
@given(value=JSON | OBJECTS)
def test_P5_document_round_trips_or_is_refused_with_its_place(value: object) -> None:
    try:
        text = dump_document(value, what="the state", limit=10_000)
    except ValidationError as error:
        assert fit_to_show(str(error).replace(CANARY, ""))
        return
    assert load_document(text) == value
    assert same_document(value, text)


@fuzz
@given(text=st.text(max_size=60) | JSON.map(json.dumps))
def test_P18_poll_of_any_stored_state_is_decided(text: str) -> None:
    pipeline = shop()
    pipeline.sensor("feed", Content, asset="report")
    ticker = SensorTicker(
        pipeline.sensors["feed"], pipeline.assets, SystemClock(), Redactor([CANARY])
    )
    ticker.checkpoint = SensorCheckpoint(version=1, state=text, polled=True)
    turn = ticker.begin()
    assert turn is not None
    decision = ticker.tick(turn)
    assert decision is not None
    assert decision.error is None or fit_to_show(decision.error)


def test_fuzz_detects_text_that_must_not_be_shown() -> None:
    assert not fit_to_show(f"a {CANARY} b")
    assert not fit_to_show("a \x1b[31m b")
    assert not fit_to_show("a \u2028 b")
    assert fit_to_show("a\nb ü")
    assert date(2025, 1, 1) + timedelta(1)
