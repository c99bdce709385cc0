"""Sensors in threads of a runner that raise what ends a process, meddle with it, or crash it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from flowstone_core import Flowstone
from flowstone_core.model.tick import TickOutcome
from tests import forked
from tests.processes import until

PATIENCE = 300
SETUP = "[flowstone]\npipelines = ward:pipeline\nstore = sqlite:///ward.db\n"
PROGRAM = """
from flowstone_core import Flowstone, Pipeline, function_sensor

pipeline = Pipeline("ward")

@function_sensor()
def interrupts(state):
    raise KeyboardInterrupt

@function_sensor(initial=0)
def well(state):
    from flowstone_core import Triggered
    return Triggered(f"n{state}", state + 1)

for name, sensor in (("interrupts", interrupts), ("well", well)):
    pipeline.sensor(name, sensor, on_trigger=print, every="100ms", backoff="100ms")

with Flowstone(pipeline, store="sqlite:///ward.db") as flow:
    print("ended", flow.run(), flush=True)
"""


def test_P9_ctrl_c_ends_the_runner_though_polls_raise_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    process = forked.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True)
    try:
        until(lambda: len(ticks_in(tmp_path, "interrupts")) >= 2)
        until(lambda: len(ticks_in(tmp_path, "well")) >= 2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, err
    assert "ended True" in out
    assert set(ticks_in(tmp_path, "interrupts")) == {TickOutcome.FAILED}
    assert set(ticks_in(tmp_path, "well")) == {TickOutcome.TRIGGERED}


DEAF = """
import signal, sys, threading
from flowstone_core import Flowstone, NotTriggered, Pipeline, function_sensor

signals = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)

def hear():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    threading.Event().wait()

threading.Thread(target=hear, daemon=True).start()
@function_sensor(initial=0)
def well(state):
    if state == 5:
        print("up", flush=True)
    return NotTriggered(state + 1)

pipeline = Pipeline("ward")
pipeline.sensor("well", well, on_trigger=print, every="100ms")
with Flowstone(pipeline, store="sqlite:///ward.db") as flow:
    print("ended", flow.run(), flush=True)
"""


def test_K12_signal_reaching_another_thread_is_noticed(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", DEAF]
    with forked.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            process.terminate()
            out, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "ended True\n")


MEDDLES = """
import locale, logging, os, signal, socket, sys, time
from datetime import datetime, timedelta
from flowstone_core import Flowstone, Pipeline, NotTriggered, Triggered, function_sensor

pipeline = Pipeline("ward")

@function_sensor(initial=0)
def meddles(state):
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()
    os.chdir("/")
    os.umask(0o777)
    socket.setdefaulttimeout(0.000001)
    locale.setlocale(locale.LC_ALL, "C")
    logging.disable()
    sys.stdout = sys.stderr = None
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

@function_sensor(initial=0)
def well(state):
    return Triggered(f"n{state}", state + 1)

pipeline.asset(name="report")(lambda context: None)
for name, sensor in (("meddles", meddles), ("well", well)):
    pipeline.sensor(name, sensor, asset="report", every="100ms", backoff="100ms")
pipeline.schedule("report", name="often", cron="* * * * * *", overlap="allow",
                  timezone="America/New_York", partition="${date}T${hour}")

with Flowstone(pipeline, store="sqlite:///ward.db") as flow:
    os._exit(0 if flow.run() else 1)
"""


def test_P11_poll_changing_its_process_affects_no_schedule_or_store(
    tmp_path: Path,
) -> None:
    process = forked.Popen([sys.executable, "-c", MEDDLES], cwd=tmp_path)
    try:
        until(lambda: len(ticks_in(tmp_path, "meddles")) >= 2)
        until(lambda: len(ticks_in(tmp_path, "well")) >= 3)
        until(lambda: len(ticks_in(tmp_path, "often", "schedule")) >= 3)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    with Flowstone(store=f"sqlite:///{tmp_path / 'ward.db'}") as flow:
        (said,) = {tick.error for tick in flow.ticks(source="sensor:meddles")}
        assert said == "ValueError: signal only works in main thread of the main interpreter"
        for event in flow.events(source="schedule:often", limit=100):
            at = datetime.fromisoformat(event.key).astimezone(ZoneInfo("America/New_York"))
            assert event.partition == f"{at:%Y-%m-%dT%H}"


CRASHES = """
import ctypes, os
from flowstone_core import NotTriggered, Pipeline, Triggered, function_sensor

pipeline = Pipeline("ward")
pipeline.asset(name="report")(lambda context: None)

@function_sensor(initial=0)
def crashes(state):
    return NotTriggered(1) if state == 0 else {deed}

@function_sensor(initial=0)
def well(state):
    return Triggered(f"n{{state}}", state + 1)

for name, sensor in (("crashes", crashes), ("well", well)):
    pipeline.sensor(name, sensor, asset="report", every="300ms")
"""


def test_P3_poll_freezing_the_interpreter_ends_the_runner_and_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "setup.cfg").write_text(SETUP + "lease = 1s\n")
    (tmp_path / "ward.py").write_text(CRASHES.format(deed="ctypes.PyDLL(None).pause()"))
    command = [sys.executable, "-m", "flowstone_core", "run"]
    ended = forked.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 1
    assert "Timeout (0:00:10)!" in ended.stderr
    assert re.search(r'ward\.py", line \d+ in crashes', ended.stderr)
    assert ticks_in(tmp_path, "crashes") == [TickOutcome.NOT_TRIGGERED]


@pytest.mark.parametrize(
    ("deed", "code"),
    [("ctypes.string_at(0)", -signal.SIGSEGV), ("os.abort()", -signal.SIGABRT), ("os._exit(7)", 7)],
)
def test_P10_poll_crashing_the_runner_loses_nothing_and_is_named(
    tmp_path: Path, deed: str, code: int
) -> None:
    (tmp_path / "setup.cfg").write_text(SETUP)
    (tmp_path / "ward.py").write_text(CRASHES.format(deed=deed))
    command = [sys.executable, "-m", "flowstone_core", "run"]
    for _ in range(2):
        ended = forked.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert ended.returncode == code, ended.stderr
        assert ("Fatal Python error" in ended.stderr) is (code < 0)
        named = re.search(r'ward\.py", line \d+ in crashes', ended.stderr)
        assert (named is not None) is (code < 0)
        assert ticks_in(tmp_path, "crashes") == [TickOutcome.NOT_TRIGGERED]
    (tmp_path / "setup.cfg").write_text(
        (tmp_path / "setup.cfg").read_text() + "\n[flowstone:sensor:crashes]\nenabled = false\n"
    )
    forked.run([*command, "--once"], cwd=tmp_path, timeout=PATIENCE, check=True)
    with Flowstone(store=f"sqlite:///{tmp_path / 'ward.db'}") as flow:
        found = [event.partition for event in flow.events(source="sensor:well", limit=1000)]
        assert found == [f"n{number}" for number in reversed(range(len(found)))]
        assert found
        assert flow.sensors.state("crashes") == "1"


def ticks_in(folder: Path, name: str, kind: str = "sensor") -> list[TickOutcome]:
    store = folder / "ward.db"
    if not store.exists():
        return []
    with Flowstone(store=f"sqlite:///{store}") as flow:
        return [each.outcome for each in flow.ticks(source=f"{kind}:{name}", limit=1000)]
