"""ReportOnce: one message when a condition begins, one when it is over."""

from __future__ import annotations

import logging

import pytest

from flowstone_core.model.report_once import ReportOnce

logger = logging.getLogger("flowstone.test")


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_report_once_repeated_condition_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    report = ReportOnce(logger, "disk full", "disk writable again")
    assert [report.begin(error="one"), report.begin(error="two")] == [True, False]
    assert (report.on, report.times) == (True, 2)
    assert [report.end(), report.end()] == [True, False]
    assert (report.on, report.times) == (False, 0)
    assert said(caplog) == [("ERROR", "disk full"), ("WARNING", "disk writable again")]
    assert caplog.records[0].error == "one"  # type: ignore[attr-defined]  # from `extra`


def test_report_once_second_outage_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    report = ReportOnce(logger, "disk full", level=logging.WARNING)
    for _ in range(2):
        report.begin()
        report.end()
    assert said(caplog) == [("WARNING", "disk full")] * 2


def test_report_once_cause_is_logged_with_traceback(caplog: pytest.LogCaptureFixture) -> None:
    report = ReportOnce(logger, "disk full")
    report.begin(OSError("no space left"))
    assert "OSError: no space left" in caplog.text
