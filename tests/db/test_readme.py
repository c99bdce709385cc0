"""README of the plugin: its configuration is valid, its settings are complete."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from flowstone_db import errors, flowstone_sensors

from tests.plugin_readme import Readme, validate

README = Readme("flowstone-db")


def test_readme_has_examples() -> None:
    assert len(README.sections) == 4


@pytest.mark.parametrize("text", README.sections)
def test_readme_example_is_valid(text: str) -> None:
    validate(text, flowstone_sensors())


@pytest.mark.parametrize("name", flowstone_sensors())
def test_readme_settings_tables_match_the_models(name: str) -> None:
    README.assert_settings(name, flowstone_sensors()[name])


def test_readme_explains_every_error() -> None:
    named = set(re.findall(r"^\| (\w+Error|SensorBroken) \|", README.text, re.MULTILINE))
    ours = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert named == {name for name in ours if name.endswith("Error")} - {"FlowstoneError"} | {
        "SensorBroken"
    }


POSTGRESQL, MARIADB = re.findall(r"```sql\n(.*?)```", README.text, re.DOTALL)


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
