"""Metadata of the wheels: what an index shows, and the bounds that pip obeys."""

from __future__ import annotations

import re
import tomllib
import zipfile
from contextlib import chdir
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
RELATIVE = re.compile(r"\]\((?!https?://|#)[^)]*\)")


def metadata(project: Path, folder: Path) -> Message:
    with chdir(project):  # as a frontend builds
        (wheel,) = WheelBuilder(str(project)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_string(archive.read(name).decode())


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_U8_metadata_of_a_wheel_is_complete(project: Path, tmp_path: Path) -> None:
    found = metadata(project, tmp_path)
    assert found["Author"]
    assert found["License-Expression"] == "Apache-2.0"
    classifiers = set(found.get_all("Classifier", []))
    assert "Programming Language :: Python :: 3.11" in classifiers
    assert "Typing :: Typed" in classifiers
    core = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert classifiers == set(core["classifiers"]), "each plugin runs where the core does"


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_U8_readme_of_a_wheel_has_no_link_into_the_tree(project: Path, tmp_path: Path) -> None:
    text = str(metadata(project, tmp_path).get_payload())
    written = (project / "README.md").read_text("utf-8")
    assert text.startswith("# ")
    assert not RELATIVE.findall(text)
    assert len(text) > len(RELATIVE.sub("", written)) * 0.95, "its text is whole"


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_U1_each_dependency_has_one_lower_bound_in_all_projects(project: Path) -> None:
    bounds: dict[str, set[str]] = {}
    for each in PROJECTS:
        declared = tomllib.loads((each / "pyproject.toml").read_text("utf-8"))["project"]
        extras = declared.get("optional-dependencies", {}).values()
        for requirement in [*declared["dependencies"], *(one for extra in extras for one in extra)]:
            name = re.match(r"[\w.-]+", requirement)[0]
            if not name.startswith("flowstone-"):
                assert ">=" in requirement, f"{requirement} of {each.name}"
                bounds.setdefault(name, set()).update(re.findall(r">=([\d.]+)", requirement))
    own = (project / "pyproject.toml").read_text("utf-8")
    for name in ("sqlalchemy", "psycopg", "pymysql"):
        assert len(bounds[name]) == 1 or name not in own, (name, bounds[name])
