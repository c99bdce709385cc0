"""README of the plugin: its configuration is valid, its settings are complete."""

from __future__ import annotations

import configparser
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from flowstone_db import errors, flowstone_sensors

from flowstone_core.model.sensor_settings import SensorSettings
from flowstone_core.testing import settings_table

README = Path(__file__, "../../../plugins/flowstone-db/README.md").resolve().read_text("utf-8")
SECTIONS = re.findall(r"```ini\n(.*?)```", README, re.DOTALL)


def _lines(text: str) -> str | list[str]:
    """A list has one item a line, below its name."""
    return text.split() if text.startswith("\n") else text


def test_readme_has_examples() -> None:
    assert len(SECTIONS) == 4


@pytest.mark.parametrize("text", SECTIONS)
def test_readme_example_is_valid(text: str) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    for name in parser.sections():
        options = dict(parser[name])
        sensor = flowstone_sensors()[options.pop("type")]
        assert options.pop("asset")
        own = {key: options.pop(key) for key in list(options) if key in SensorSettings.model_fields}
        SensorSettings.model_validate(own)
        values = {key: _lines(text) for key, text in options.items()}
        sensor.Config.model_validate(values)


@pytest.mark.parametrize("name", flowstone_sensors())
def test_readme_settings_tables_match_the_models(name: str) -> None:
    """Where one is not, print it by ``flowstone plugins show NAME --markdown``."""
    marks = rf"<!-- settings of {name} -->\n(.*?)\n<!-- end of settings -->"
    (found,) = re.findall(marks, README, re.DOTALL)
    assert found == settings_table(flowstone_sensors()[name].Config)


def test_readme_explains_every_error() -> None:
    named = set(re.findall(r"^\| (\w+Error|SensorBroken) \|", README, re.MULTILINE))
    ours = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert named == {name for name in ours if name.endswith("Error")} - {"FlowstoneError"} | {
        "SensorBroken"
    }


POSTGRESQL, MARIADB = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)


def statements(text: str, **names: str) -> list[str]:
    for name, own in names.items():
        text = re.sub(rf"\b{name}\b", own, text)
    return [each.strip() for each in text.split(";") if each.strip()]


def test_readme_grants_work_on_postgresql(postgresql_database: Any) -> None:
    role = f"reader_{uuid.uuid4().hex[:12]}"
    for table in ("orders", "price"):
        postgresql_database.execute(f"CREATE TABLE {table} (id int)")
    ((name,),) = postgresql_database.execute("SELECT quote_ident(current_database())")
    for each in statements(POSTGRESQL, flowstone_reader=role, shop=name):
        postgresql_database.execute(each)
    can = "SELECT has_table_privilege(%s, 'orders', %s)"
    assert postgresql_database.execute(can, role, "SELECT") == [(True,)]
    assert postgresql_database.execute(can, role, "INSERT") == [(False,)]
    postgresql_database.execute(f"DROP OWNED BY {role}")
    postgresql_database.execute(f"DROP ROLE {role}")


def test_readme_grants_work_on_mariadb(mariadb_database: Any) -> None:
    mariadb_database.execute("CREATE TABLE orders (id int)")
    try:
        for each in statements(MARIADB):
            mariadb_database.execute(each)
    finally:
        mariadb_database.execute("DROP USER IF EXISTS flowstone_reader@'10.0.0.%'")
