"""Partition templates in the languages of other tools."""

import pytest

from flowstone_core.errors import ValidationError
from flowstone_core.scheduling.foreign_template import foreign_template, refuse_foreign


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("{year}-{month}", "${year}-${month}"),
        ("%Y-%m-%d", "${year}-${month}-${day}"),
        ("%Y%m%dT%H:%M:%S%z", "${year}${month}${day}T${hour}:${minute}:${second}${offset}"),
        ("orders/%F/%-d", "orders/${date}/${day}"),
        ("{{ year }}", "${year}"),
        ("{{ ds }}", "${date}"),
        ("{date:%Y-%m}", "${date}"),
        ("{Year}", "${year}"),
        ("%(year)s/%(month)s", "${year}/${month}"),
        ("<year>-<month>", "${year}-${month}"),
        ("[date]", "${date}"),
        ("YYYY-MM-DD", "${year}-${month}-${day}"),
        ("orders-yyyymmdd", "orders-${year}${month}${day}"),
        ("yyyy", "${year}"),
        ("date", "${date}"),
        (" Today ", " ${date} "),
        ("year-month-day", "${year}-${month}-${day}"),
        # One token is right, the other is not.
        ("${year}-{month}", "${year}-${month}"),
        ("${year}-%m", "${year}-${month}"),
    ],
)
def test_N11_template_of_another_language_is_refused(text, meant):
    with pytest.raises(ValidationError) as caught:
        refuse_foreign(text)
    (problem,) = caught.value.problems
    assert problem.message == (f"invalid partition template {text!r}: a token is written ${{year}}")
    assert problem.hint == f"write {meant}"


@pytest.mark.parametrize("text", ["2025-01-05", "20250105", "2025-1-5", "2025-01-05T08:00Z"])
def test_N11_template_that_is_one_date_is_refused(text):
    with pytest.raises(ValidationError, match=r"one date at every instant \(write \$\{date\} for"):
        refuse_foreign(text)


@pytest.mark.parametrize(
    "text",
    [
        "all", "latest", "counted", "day", "${date}", "${year}-${month}", "north-${date}",
        "$${year}", "week of ${date}", "100%done", "{eu}", "update", "candidate", "mm", "eu/2025",
        "${instant}", "${date}T${hour}:${minute}${offset}", "[a]", "today-${date}", "xyyyy",
    ],
)  # fmt: skip
def test_N11_constant_and_token_are_allowed(text):
    refuse_foreign(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("orders/{year}/%m/", "orders/${year}/${month}/"),
        ("date", None),
        ("2025-01-05", None),
        ("%d0%BA%F0%9F/", None),
        ("in/${year}/", None),
        ("dt=%Y-%m-%d/", "dt=${year}-${month}-${day}/"),
    ],
)
def test_N11_prefix_of_another_language_has_a_meaning(text, meant):
    assert foreign_template(text) == meant
