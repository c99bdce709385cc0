"""What a runner holds does not grow: the short form of ``soak.py``, in which no time decides."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from soak import Sample, growths, new_store, report, soak_days


def samples_of(files: list[int]) -> list[Sample]:
    return [Sample("", number, 50.0, 9, each, 9, 0) for number, each in enumerate(files)]


def until(last: int):
    return lambda taken: None if taken == last else True


def test_figures_that_vary_and_stay_are_flat(capsys: pytest.CaptureFixture[str]) -> None:
    assert report("load", samples_of([9, 20, 30, 31, 30, 33, 28, 30, 33, 27, 31, 30]))
    assert capsys.readouterr().out.count(": flat") == 5


def test_figure_that_grows_after_the_first_half_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert not report("load", samples_of(list(range(10, 34))))
    assert "files" in next(line for line in capsys.readouterr().out.splitlines() if "GROWS" in line)


def test_virtual_days_leave_files_threads_and_children_as_they_are() -> None:
    with new_store() as url:
        samples = soak_days(url, until(6), lambda _: None, timedelta(minutes=20))
    assert samples[-1].done > samples[2].done > 0
    found = {name: growth <= noise for name, growth, noise in growths(samples)}
    assert (found["files"], found["threads"], found["children"]) == (True, True, True)


def test_file_that_leaks_at_each_sample_is_noticed(tmp_path: Path) -> None:
    leaked = []

    def leak(sample: Sample) -> None:
        leaked.extend((tmp_path / f"{sample.at} {number}").open("w") for number in range(3))

    with new_store() as url:
        samples = soak_days(url, until(6), leak, timedelta(minutes=20))
    for file in leaked:
        file.close()
    assert not report("days", samples)
