"""Schedules in files and pipelines, put together and judged at once."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from flowstone_core.config.file.reader import load
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.validation import validate
from flowstone_core.errors import ValidationError
from flowstone_core.plugin.discovery import discover

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


def shop():
    pipeline = Pipeline("shop")
    pipeline.asset(name="report")(lambda context: None)
    pipeline.asset(name="orders")(lambda context: None)
    return pipeline


@pytest.fixture
def checked(tmp_path):
    """Check a file's text beside pipelines."""

    def check(text, *pipelines, environ=None):
        path = tmp_path / "flowstone.cfg"
        path.write_text(text)
        config = load(path, environ or {})
        return validate(config, pipelines=pipelines or [shop()], plugins=discover(allow=[]))

    return check


def wrong(checked, text, *pipelines, **options):
    with pytest.raises(ValidationError) as caught:
        checked(text, *pipelines, **options)
    return [str(problem) for problem in caught.value.problems]


def test_section_becomes_a_schedule(checked):
    project = checked(
        "[flowstone:schedule:nightly]\n"
        "asset = report\n"
        "cron = 0 2 * * *\n"
        "timezone = America/New_York\n"
        "partition = ${year}-${month}-${day}\n"
        "catchup = all\n"
        "catchup_window = 2d\n"
        "jitter = 90s\n"
        "pause_on_failure = true\n"
        "metadata =\n"
        "    owner = accounting\n"
        "    page = 3\n"
    )
    declaration = project.schedules["nightly"]
    assert declaration.spec == {
        "asset": "report", "trigger": "cron", "text": "0 2 * * *",
        "timezone": "America/New_York", "partition": "${year}-${month}-${day}",
        "catchup": "all", "catchup_window": "2d", "jitter": "1m30s", "pause_on_failure": True,
        "metadata": {"owner": "accounting", "page": "3"},
    }  # fmt: skip
    assert declaration.where.endswith("flowstone.cfg:1")
    instant = declaration.schedule.next_instant(NOON)
    assert instant == datetime(2026, 1, 16, 7, tzinfo=UTC)
    assert declaration.schedule.partition(instant) == date(2026, 1, 16)
    assert set(project.triggers) == {"cron", "every"}


def test_asset_is_the_name_by_default(checked):
    project = checked("[flowstone:schedule:report]\nevery = 10 minutes\n")
    assert project.schedules["report"].schedule.asset == "report"


def test_all_problems_are_reported_at_once_with_lines(checked):
    text = (
        "[flowstone:schedule:nightly]\n"
        "asset = repotr\n"
        "cron = 0 25 * * 8\n"
        "timezone = Europe/Warsow\n"
        "catchup = al\n"
        "partition_fn = nowhere:at_all\n"
        "crn = x\n"
        "[flowstone:schedule:orders]\n"
        "cron = 0 2 * * *\n"
        "every = 5m\n"
        "[flowstone:schedule:re port]\n"
        "asset = report\n"
        "[flowstone:schedules:x]\n"
    )
    found = [problem.partition("flowstone.cfg")[2] for problem in wrong(checked, text)]
    nightly = "[flowstone:schedule:nightly]"
    expected = [
        f":2: {nightly} asset: unknown asset 'repotr' (did you mean 'report'?)",
        f":3: {nightly} cron: invalid cron expression: hour '25' is out of range; allowed are 0-23",
        f":3: {nightly} cron: invalid cron expression: day of week '8' is out of range",
        f":4: {nightly} timezone: unknown time zone 'Europe/Warsow'",
        f":5: {nightly} catchup: must be none, latest or all",
        f":6: {nightly} partition_fn: ",
        f":7: {nightly} crn: unknown setting (did you mean 'cron'?)",
        ":8: [flowstone:schedule:orders]: several triggers: cron and every",
        ":11: invalid schedule name 're port'",
        ":11: [flowstone:schedule:re port]: missing trigger",
        ":13: [flowstone:schedules:x]: unknown section (did you mean [flowstone:schedule",
    ]
    for begins in expected:
        assert any(each.startswith(begins) for each in found), (begins, found)
    assert len(found) == len(expected)


def test_partition_fn_is_imported_from_beside_the_file(checked, tmp_path):
    (tmp_path / "naming_of_partitions.py").write_text("def hour(instant): return f'{instant:%H}'\n")
    project = checked(
        "[flowstone:schedule:report]\ncron = 0 * * * *\ntimezone = Asia/Tokyo\n"
        "partition_fn = naming_of_partitions:hour\n"
    )
    declaration = project.schedules["report"]
    assert declaration.schedule.partition(NOON) == "21"
    assert declaration.spec["partition_fn"] == "naming_of_partitions:hour"


def test_indented_setting_is_found(checked):
    text = "[flowstone:schedule:report]\nevery = 5m\n  catchup = all\n"
    assert any(
        "indented line is part of the value of 'every'" in each for each in wrong(checked, text)
    )


def test_value_of_the_environment_is_not_shown_if_invalid(checked):
    text = "[flowstone:schedule:report]\ncron = ${NIGHTLY}\n"
    project = checked(text, environ={"NIGHTLY": "0 2 * * *"})
    assert project.schedules["report"].schedule.trigger.text == "0 2 * * *"
    (problem,) = wrong(checked, text, environ={"NIGHTLY": "hunter2-hunter2"})
    assert "hunter2" not in problem


def test_file_overrides_single_settings_of_a_pipeline(checked):
    pipeline = shop()
    pipeline.schedule("report", cron="0 2 * * *", catchup="all", partition="a", jitter="5m")
    project = checked(
        "[flowstone:schedule:report]\nevery = 10 minutes\ncatchup = none\npartition = b\n", pipeline
    )
    given = project.schedules["report"].spec
    assert given == {
        "asset": "report", "trigger": "every", "text": "10 minutes", "catchup": "none",
        "partition": "b", "jitter": "5m",
    }  # fmt: skip
    assert project.schedules["report"].where.endswith("flowstone.cfg:1")


def test_schedule_name_in_two_pipelines_is_a_duplicate(checked):
    one, two = shop(), Pipeline("two")
    one.schedule("report", cron="0 2 * * *")
    two.asset(name="other")(lambda context: None)
    two.schedule("other", name="report", cron="0 3 * * *")
    (problem,) = wrong(checked, "", one, two)
    assert "duplicate schedule 'report'" in problem
    assert "first declared at" in problem


# -- in a pipeline -----------------------------------------------------------------------------


def refused(pipeline, *arguments, **options):
    with pytest.raises(ValidationError) as caught:
        pipeline.schedule(*arguments, **options)
    return [str(problem) for problem in caught.value.problems]


def test_pipeline_refuses_at_once_with_the_line():
    problems = refused(shop(), "repotr", cron="99 * * * *", timezone="nowhere", oops=1)
    assert len(problems) == 4
    assert all("test_schedule_section.py:" in problem for problem in problems)


def test_second_schedule_of_an_asset_needs_a_name():
    pipeline = shop()
    pipeline.schedule("report", cron="0 2 * * *")
    (problem,) = refused(pipeline, "report", cron="0 3 * * *")
    assert "duplicate schedule 'report'" in problem
    assert "name=..." in problem
    pipeline.schedule("report", name="again", cron="0 3 * * *")
    assert list(pipeline.schedules) == ["report", "again"]


@pytest.mark.parametrize("name", [3, "", "a b"])
def test_invalid_name_is_refused(name):
    assert any(
        "invalid schedule name" in each for each in refused(shop(), "report", name=name, every="5m")
    )


def test_missing_trigger_or_misspelt_setting_is_refused():
    assert any("missing trigger" in each for each in refused(shop(), "report"))
    problems = refused(shop(), "report", timezon="UTC")
    assert any("did you mean 'timezone'?" in each for each in problems)


def test_unknown_trigger_is_refused_when_plugins_are_known(checked):
    pipeline = shop()
    pipeline.schedule("report", business_days="08:00")
    problems = wrong(checked, "", pipeline)
    assert any("business_days: unknown setting" in each for each in problems)
    assert all("test_schedule_section.py:" in each for each in problems)


@pytest.mark.parametrize("template", ["{year}-{month}", "%%Y-%%m"])
def test_N11_template_without_a_token_is_refused(checked, template):
    plain = template.replace("%%", "%")
    said = (
        f"partition: invalid partition template {plain!r}: a token is written ${{year}} "
        "(write ${year}-${month})"
    )
    section = f"[flowstone:schedule:report]\nevery = day\npartition = {template}\n"
    (problem,) = wrong(checked, section)
    assert problem.endswith(f"flowstone.cfg:3: [flowstone:schedule:report] {said}")
    with pytest.raises(ValidationError) as caught:
        shop().schedule("report", every="day", partition=plain)
    assert str(caught.value).endswith(said)
