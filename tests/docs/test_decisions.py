"""Each decision has a date, reasons, what was rejected, and a row in the list of decisions."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs/decisions"
PAGES = sorted(path.name for path in FOLDER.glob("*.md") if path.name != "README.md")
LIST = (FOLDER / "README.md").read_text("utf-8")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", PAGES)
def test_decision_has_its_parts(page: str) -> None:
    source = (FOLDER / page).read_text("utf-8")
    headings = re.findall(r"^## (.+)$", source, re.MULTILINE)
    assert [part for part in headings if not part.startswith("What differs")] == [
        "Decision",
        "Why",
        "Rejected",
        "Price",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_decision_is_listed_with_its_title_and_date(page: str) -> None:
    source = (FOLDER / page).read_text("utf-8")
    title, made = source.splitlines()[0].removeprefix("# "), source.splitlines()[2]
    day = date.fromisoformat(made.removeprefix("Date: "))
    assert f"| [{title}]({page}) | {day} |" in LIST


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_decision_links_to_files_that_exist(page: str) -> None:
    links = LINK.findall((FOLDER / page).read_text("utf-8"))
    assert [link for link in links if not (FOLDER / link).exists()] == []


def test_list_has_only_pages_that_exist() -> None:
    assert sorted(LINK.findall(LIST)) == PAGES
