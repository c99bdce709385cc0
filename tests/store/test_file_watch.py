"""File watches: readable after a write to their file, and not there where the system has none."""

from __future__ import annotations

import os
import select
import sys

import pytest

from flowstone_core.store import file_watch
from flowstone_core.store.file_watch import FileWatch
from flowstone_core.testing import assert_no_leaks

PATIENCE = 300


def is_readable(watch, seconds=0.0):
    return bool(select.select([watch], [], [], seconds)[0])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has inotify")
def test_watch_tells_of_each_write_to_its_file(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"0" * 100)
    with assert_no_leaks(), path.open("r+b", buffering=0) as file:
        watch = FileWatch.open(str(path))
        assert not is_readable(watch)
        for _ in range(2):
            os.pwrite(file.fileno(), b"1", 0)  # its size stays
            assert is_readable(watch, PATIENCE)
            watch.clear()
            watch.clear()
            assert not is_readable(watch)
        watch.close()


def test_missing_file_has_no_watch(tmp_path):
    with assert_no_leaks():
        assert FileWatch.open(str(tmp_path / "missing")) is None


def test_system_without_inotify_has_no_watch(tmp_path, monkeypatch):
    (tmp_path / "log").touch()
    monkeypatch.setattr(file_watch.sys, "platform", "darwin")
    assert FileWatch.open(str(tmp_path / "log")) is None


def test_process_without_free_descriptors_has_no_watch(tmp_path):
    (tmp_path / "log").touch()
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        assert FileWatch.open(str(tmp_path / "log")) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
