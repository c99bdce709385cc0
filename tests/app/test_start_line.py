"""The log line at the start of a runner: what is loaded, from where."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstone_core import Flowstone, Pipeline


def test_N6_start_line_tells_what_is_loaded_from_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flowstone")
    config = tmp_path / "setup.cfg"
    config.write_text(
        "[flowstone]\nstore = sqlite://\n[flowstone:schedule:report]\nasset = report\n"
        "cron = 0 2 * * *\n"
    )
    pipeline = Pipeline("shop")
    pipeline.asset(name="orders")(lambda context: None)
    pipeline.asset(name="report")(lambda context: None)
    with Flowstone(pipeline, config=config) as flow:
        assert flow.run(once=True)
    (line,) = [each for each in caplog.records if each.getMessage() == "runner started"]
    told = {key: vars(line)[key] for key in ("config", "store", "engine", "pipelines")}
    assert told == {
        "config": str(config),
        "store": "sqlite://",
        "engine": "local",
        "pipelines": None,
    }
    counts = {key: vars(line)[key] for key in ("sensors", "schedules", "assets")}
    assert counts == {"sensors": 0, "schedules": 1, "assets": 2}


def test_N6_stop_line_tells_that_no_signal_came(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "flowstone")
    with Flowstone(Pipeline("shop"), store="sqlite://") as flow:
        assert flow.run(once=True)
    (line,) = [each for each in caplog.records if each.getMessage() == "runner stopping"]
    assert vars(line)["signal"] is None
