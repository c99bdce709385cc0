"""Every example in a docstring of the core runs."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import flowstone_core

PACKAGE = Path(flowstone_core.__file__).parent

MODULES = sorted(
    ".".join(("flowstone_core", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if ">>>" in path.read_text("utf-8") and "flowstone-acme" not in path.parts
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    result = doctest.testmod(import_module(name.removesuffix(".__init__")), report=True)
    assert result.failed == 0
    assert result.attempted > 0


def test_examples_are_found():
    assert "flowstone_core.model.duration" in MODULES
