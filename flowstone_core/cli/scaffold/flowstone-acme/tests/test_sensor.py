"""The events of the sensor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flowstone_acme import AcmeFiles
from flowstone_acme.sensor import State

from flowstone_core import NotTriggered, Outcome, Triggered


def sensor_of(folder: Path, **options: str) -> AcmeFiles:
    return AcmeFiles(AcmeFiles.Config.model_validate({"folder": folder, **options}))


def partitions(outcome: Outcome[State]) -> list[object]:
    return [each.partition for each in outcome.events] if isinstance(outcome, Triggered) else []


def test_files_that_are_new_or_written_again_fire(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("one")
    sensor = sensor_of(tmp_path)
    first = sensor.poll(sensor.init())
    assert partitions(first) == ["a.csv"]
    assert sensor.poll(first.state) == NotTriggered(first.state)
    (tmp_path / "a.csv").write_text("longer")
    (tmp_path / "b.csv").write_text("two")
    assert partitions(sensor.poll(first.state)) == ["a.csv", "b.csv"]


def test_a_file_of_the_same_size_written_later_fires(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("one")
    sensor = sensor_of(tmp_path)
    first = sensor.poll(sensor.init())
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert partitions(sensor.poll(first.state)) == ["a.csv"]


def test_other_files_and_folders_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.csv").mkdir()
    sensor = sensor_of(tmp_path, suffix=".csv")
    assert sensor.poll(sensor.init()) == NotTriggered({})


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    sensor = sensor_of(tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        sensor.poll(sensor.init())
    with pytest.raises(FileNotFoundError):
        sensor.connect()
