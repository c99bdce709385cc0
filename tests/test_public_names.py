import subprocess
import sys

import pytest

import flowstone_core

HEAVY = ["alembic", "boto3", "click", "pluggy", "pydantic", "rich", "sqlalchemy", "stevedore",
         "structlog"]  # fmt: skip


@pytest.mark.parametrize("name", flowstone_core.__all__)
def test_public_name_is_defined_in_its_module(name):
    value = getattr(flowstone_core, name)
    home = getattr(value, "__module__", None)
    if isinstance(home, str) and home.startswith("flowstone_core"):
        assert vars(sys.modules[home])[name] is value
    assert getattr(flowstone_core, name) is value


def test_public_names_are_few_and_sorted():
    assert len(flowstone_core.__all__) <= 30
    assert list(flowstone_core.__all__) == sorted(flowstone_core.__all__)
    assert dir(flowstone_core) == sorted(flowstone_core.__all__)


def test_unknown_public_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="'flowstone_core' has no attribute 'Flow'"):
        flowstone_core.Flow  # noqa: B018 - to look at it is the test


def imported_by(statement):
    script = f"{statement}\nimport sys\nprint(*sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    return set(run.stdout.split())


def test_package_import_loads_nothing_heavy():
    loaded = imported_by("import flowstone_core")
    assert not loaded & set(HEAVY)
    assert {name for name in loaded if name.startswith("flowstone_core.")} == set()


@pytest.mark.parametrize(
    ("names", "spared"),
    [
        ("encode_partition, decode_partition, Partition", HEAVY),
        ("Event, Triggered, NotTriggered, PollFailed", HEAVY),
        ("FlowstoneError, ValidationError, RetryLater, SensorBroken, Discard", HEAVY),
        ("Sensor, SensorConfig, function_sensor, PollContext", {*HEAVY} - {"pydantic"}),
        ("Pipeline, Duration, Context", {*HEAVY} - {"pydantic"}),
        ("hookimpl", {*HEAVY} - {"pluggy"}),
        ("Flowstone", {"boto3"}),
    ],
)
def test_public_name_imports_only_what_it_needs(names, spared):
    assert not imported_by(f"from flowstone_core import {names}") & set(spared)
