"""What one command line works with."""

import io
from contextlib import redirect_stdout

import pytest

from flowstone_core.cli import main
from flowstone_core.cli.session import Session


def test_command_line_has_one_flowstone(shop):
    session = Session(None, "keyvalue", None)
    flow = session.flow()
    assert session.flow() is flow
    assert flow.events() == []
    session.close()


def test_warnings_and_errors_are_one_line_each_and_redacted(empty_folder, capsys):
    session = Session(None, "keyvalue", None)
    session.redact = lambda text: text.replace("hunter2", "***")
    session.warn("a\n  b hunter2", "c\x1b[2J")
    session.fail("d")
    assert capsys.readouterr().err == "warning: a b ***\nwarning: c\nerror: d\n"


def test_output_may_go_anywhere(shop):
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as ended:
        main(["check"])
    assert ended.value.code == 0
    assert out.getvalue().startswith("file:    setup.cfg\n")
