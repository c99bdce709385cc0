"""The main job with real processes: files land in a bucket, runners are killed, nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from datetime import date
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from flowstone_core import Flowstone
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from tests import forked

PATIENCE = 300
FLOWSTONE = Path(sys.executable).with_name("flowstone")
PIPELINE = """
import json, os
from flowstone_core import Pipeline

pipeline = Pipeline("jobs")

@pipeline.asset(max_attempts=20)
def raw(context):
    keys = [found["key"] for payload in context.payloads for found in payload["objects"]]
    entry = {"run_id": context.run_id, "attempt": context.attempt, "keys": keys}
    with open("ledger", "a") as ledger:
        ledger.write(json.dumps(entry) + "\\n")
    context.logger.info("at work")
    if os.path.exists("gate"):
        open("gate").read()
    return {"keys": keys}

@pipeline.asset(depends_on=["raw"], follow=True)
def report(context):
    return {"keys": context.upstream["raw"]["keys"]}
"""
CONFIG = """
[flowstone]
store = sqlite:///flow.db
pipelines = jobs:pipeline

[flowstone:sensor:files]
type = s3_file_arrival
every = 50ms
backoff = 1ms
asset = raw
bucket = {bucket}
endpoint_url = {endpoint}
region = us-east-1
access_key = testing
secret_key = canary-5ecret-key
"""


class Run:
    """A `flowstone run` of its own process, whose log is read as it comes."""

    def __init__(self, folder, *arguments, **environ):
        self.lines = []
        self._news = threading.Condition()
        self.process = forked.Popen(
            [FLOWSTONE, "run", *arguments],
            cwd=folder,
            env={**os.environ, **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self.lines.append("")
            self._news.notify_all()

    def until(self, *words, count=1):
        """Wait until so many lines have all of the words."""
        with self._news:
            self._news.wait_for(
                lambda: self._seen(words) >= count or self.lines[-1:] == [""], PATIENCE
            )
            assert self._seen(words) >= count, "".join(self.lines)

    def _seen(self, words):
        return sum(all(word in line for word in words) for line in self.lines)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        """Wait for its end and the end of its log; return the exit code."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint):
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    yield client
    client.close()


@pytest.fixture
def bucket():
    """The name of a bucket that is not there yet."""
    return f"bucket-{uuid.uuid4().hex}"


@pytest.fixture
def folder(tmp_path, endpoint, bucket):
    (tmp_path / "jobs.py").write_text(PIPELINE)
    (tmp_path / "setup.cfg").write_text(CONFIG.format(bucket=bucket, endpoint=endpoint))
    return tmp_path


def upload(s3, bucket, *keys):
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())


def seen_keys(flow):
    """How often each object is in an event."""
    return Counter(
        found["key"]
        for event in flow.events(source="sensor:files", limit=1_000)
        for found in event.payload["objects"]
    )


def store_of(folder):
    return Flowstone(store=f"sqlite:///{folder / 'flow.db'}")


def test_K2_K8_killed_and_restarted_run_loses_and_doubles_nothing(folder, bucket, s3):
    s3.create_bucket(Bucket=bucket)
    upload(s3, bucket, "in/2025-01-13/a.csv", "in/2025-01-14/a.csv")
    os.mkfifo(folder / "gate")
    first = Run(folder)
    first.until("at work", count=2)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    upload(s3, bucket, "in/2025-01-15/while-it-was-down.csv")
    (folder / "gate").unlink()
    second = Run(folder)
    second.until("runner died")
    second.until("asset=report", "state=completed", count=3)
    assert second.stop() == 0
    with store_of(folder) as flow:
        assert set(seen_keys(flow).values()) == {1}
        assert len(seen_keys(flow)) == 3
        everything = flow.materializations.latest(limit=1_000)
        assert {item.state for item in everything} == {MaterializationState.COMPLETED}
        assert len(everything) == 6
        (killed,) = flow.materializations.latest(asset="raw", partition=date(2025, 1, 13))
        outcomes = [attempt.outcome for attempt in flow.materializations.attempts(killed.id)]
        assert outcomes == [AttemptOutcome.LOST, AttemptOutcome.COMPLETED]
    entries = [json.loads(line) for line in (folder / "ledger").read_text().splitlines()]
    mine = [entry for entry in entries if entry["run_id"] == killed.run_id]
    assert [entry["attempt"] for entry in mine] == [1, 2]
    assert mine[0]["keys"] == mine[1]["keys"]
    assert "canary" not in "".join(first.lines + second.lines)


def test_K12_graceful_stop_releases_work_that_the_next_run_completes(folder, bucket, s3):
    s3.create_bucket(Bucket=bucket)
    upload(s3, bucket, "in/2025-01-13/a.csv")
    config = folder / "setup.cfg"
    config.write_text(config.read_text().replace("[flowstone]\n", "[flowstone]\ngrace = 10ms\n"))
    os.mkfifo(folder / "gate")
    first = Run(folder)
    first.until("at work")
    assert first.stop() == 1
    (folder / "gate").unlink()
    with store_of(folder) as flow:
        (given_back,) = flow.materializations.latest(asset="raw")
        assert given_back.state is MaterializationState.RETRYING
        (attempt,) = flow.materializations.attempts(given_back.id)
        assert attempt.outcome is AttemptOutcome.RELEASED
        assert not flow.status().runners
    second = Run(folder, "--once")
    assert second.wait() == 0
    with store_of(folder) as flow:
        assert len(flow.materializations.latest(state=MaterializationState.COMPLETED)) == 2


def test_missing_bucket_is_reported_and_found_once_created(folder, bucket, s3):
    first = Run(folder, "--once")
    assert first.wait() == 1
    first.until("error: sensor:files", "bucket not found", bucket)
    s3.create_bucket(Bucket=bucket)
    upload(s3, bucket, "in/2025-01-13/a.csv")
    second = Run(folder, "--once")
    assert second.wait() == 0
    with store_of(folder) as flow:
        assert len(flow.materializations.latest(state=MaterializationState.COMPLETED)) == 2


def test_configuration_without_its_plugin_is_refused(folder):
    run = Run(folder, FLOWSTONE_DISABLE_PLUGINS="flowstone-s3")
    assert run.wait() == 2
    run.until("setup.cfg:7", "s3_file_arrival")
    assert "Traceback" not in "".join(run.lines)


def test_D8_two_runners_on_one_store_share_work_without_doubling(folder, bucket, s3):
    s3.create_bucket(Bucket=bucket)
    upload(s3, bucket, *(f"in/2025-01-{day:02}/a.csv" for day in range(1, 11)))
    runs = [Run(folder), Run(folder)]
    for run in runs:
        run.until("runner started")
    upload(s3, bucket, *(f"in/2025-02-{day:02}/a.csv" for day in range(1, 11)))
    with store_of(folder) as flow:
        done = {"asset": "report", "state": MaterializationState.COMPLETED, "limit": 1_000}
        while len({item.partition for item in flow.materializations.latest(**done)}) < 20:
            assert all(run.process.poll() is None for run in runs)
        assert [run.stop() for run in runs] == [0, 0]
        assert set(seen_keys(flow).values()) == {1}
        assert len(seen_keys(flow)) == 20
        assert all(item.attempt == 1 for item in flow.materializations.latest(limit=1_000))
