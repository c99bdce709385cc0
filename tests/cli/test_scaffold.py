"""What a new plugin is called, and where it is written."""

import pytest

from flowstone_core.cli.scaffold import Plugin, name_plugin, write_plugin
from flowstone_core.errors import ConflictError, ValidationError


@pytest.mark.parametrize(
    ("name", "distribution", "package", "kind", "sensor_class"),
    [
        ("acme", "flowstone-acme", "flowstone_acme", "acme_files", "AcmeFiles"),
        ("flowstone-acme", "flowstone-acme", "flowstone_acme", "acme_files", "AcmeFiles"),
        (
            "Tide_Gauge",
            "flowstone-tide-gauge",
            "flowstone_tide_gauge",
            "tide_gauge_files",
            "TideGaugeFiles",
        ),
    ],
)
def test_all_names_come_of_one(name, distribution, package, kind, sensor_class):
    plugin = name_plugin(name)
    assert (plugin.distribution, plugin.package) == (distribution, package)
    assert (plugin.type, plugin.sensor_class) == (kind, sensor_class)


@pytest.mark.parametrize(
    "name", ["", "flowstone-", "7up", "a--b", "a b", "-a", "../a", "ä", "a" * 61]
)
def test_new_plugin_with_an_invalid_name_is_refused(name):
    with pytest.raises(ValidationError, match="invalid plugin name"):
        name_plugin(name)


@pytest.mark.parametrize("kind", ["", "Files", "class", "a-b", "_a", "a" * 81])
def test_new_plugin_with_an_invalid_type_is_refused(kind):
    with pytest.raises(ValidationError, match="invalid sensor type"):
        name_plugin("acme", kind)


def test_installed_plugin_is_not_written_again():
    with pytest.raises(ConflictError, match="duplicate distribution flowstone-s3"):
        name_plugin("s3")


def test_existing_folder_is_left_alone(tmp_path):
    plugin = Plugin("tide-gauge", "tides")
    first = write_plugin(plugin, tmp_path / "new")
    assert first == sorted(first)
    mine = first[0]
    mine.write_text("mine")
    with pytest.raises(ConflictError, match="folder exists"):
        write_plugin(plugin, tmp_path / "new")
    assert mine.read_text() == "mine"


def test_written_plugin_has_no_name_of_the_template(tmp_path):
    written = write_plugin(Plugin("tide-gauge", "tides"), tmp_path)
    names = {path.relative_to(tmp_path / "flowstone-tide-gauge").as_posix() for path in written}
    assert {
        ".github/workflows/ci.yml",
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/flowstone_tide_gauge/__init__.py",
        "src/flowstone_tide_gauge/py.typed",
    } <= names
    for path in written:
        text = path.read_text("utf-8")
        assert "acme" not in f"{path.relative_to(tmp_path)} {text}".lower()
    assert 'return {"tides": Tides}' in (
        tmp_path / "flowstone-tide-gauge/src/flowstone_tide_gauge/__init__.py"
    ).read_text("utf-8")
