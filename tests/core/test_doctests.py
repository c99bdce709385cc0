import doctest
from importlib import import_module

import pytest

MODULES = [
    "asset", "attempt", "clock", "declaration", "document", "duration", "errors", "event",
    "materialization", "partition", "pipeline", "redaction", "retry", "sensor", "settings", "tick",
]  # fmt: skip
WITH_EXAMPLES = {"duration", "event", "partition", "pipeline", "sensor"}


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_docstrings_run(name):
    result = doctest.testmod(import_module(f"flowstone_core.{name}"), report=True)
    assert result.failed == 0
    assert (result.attempted > 0) == (name in WITH_EXAMPLES)
