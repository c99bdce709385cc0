"""`flowstone check` of a webhook: warnings and errors as a user sees them, without secrets."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flowstone_core.cli import main

PIPELINE = """
from flowstone_core import Pipeline
pipeline = Pipeline("shop")
@pipeline.asset
def prices(context): ...
def nothings(body): ...
NUMBER = 3
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    Path("webhook_check_pipeline.py").write_text(PIPELINE)

    def check(settings: str) -> Result:
        given = "type = webhook\nasset = prices\n"
        given += settings if "url" in settings else f"url = https://example.org/x\n{settings}"
        Path("setup.cfg").write_text(
            "[flowstone]\npipelines = webhook_check_pipeline:pipeline\n\n"
            f"[flowstone:sensor:prices]\n{given}"
        )
        return CliRunner().invoke(main, ["check"])

    return check


@pytest.mark.parametrize(
    "settings",
    [
        "partition = 'all'\n",
        'partition = "day"\n',
        "partition = ${date}\n",
        "partition = day\ncheck = 'done'\n",
        "partition = day\non_change = 'a # b'\n",
        'partition = day\nmethod = POST\nbody = "x"\n',
        "partition = day\nheaders = Accept: text/html ; q=0.8\n",
    ],
)
def test_F8_quotes_that_mean_something_have_no_warning(check, settings):  # type: ignore[no-untyped-def]
    result = check(settings)
    assert result.exit_code == 0, result.output
    assert "quotes" not in result.output
    assert "comment" not in result.output


def test_F8_other_quotes_are_still_warned_of(check):  # type: ignore[no-untyped-def]
    result = check("partition = day\nusername = 'me'\npassword = x\n")
    assert "setup.cfg:9: [flowstone:sensor:prices] username: quotes are part of the value" in (
        result.output
    )
    result = check("partition = day\n[flowstone:schedule:prices]\nevery = day\npartition = 'x'\n")
    assert "[flowstone:schedule:prices] partition: quotes are part" in result.output


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///etc/passwd", "unsupported scheme of the URL: use http or https"),
        ("https://", "missing host in the URL: write SCHEME://HOST/PATH"),
        ("https:///hooks/hunter2", "missing host in the URL: write SCHEME://HOST/PATH"),
        ("hooks.example/hunter2", "missing scheme of the URL: begin it with http:// or https://"),
        ("https://me:hunter2@hooks.example/", "credentials do not belong in a URL"),
        ("https://hooks.example:hunter2/", "invalid port in the URL: use 1 to 65535"),
        ("${HOOK}", "missing host in the URL: write SCHEME://HOST/PATH"),
    ],
)
def test_W2_url_is_explained_and_not_shown(check, monkeypatch, url, said):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("HOOK", "https:///hooks/hunter2")
    result = check(f"partition = day\nurl = {url}\n")
    assert result.exit_code == 2
    assert f"setup.cfg:8: [flowstone:sensor:prices] url: {said}" in result.output
    assert "hunter2" not in result.output
    assert "passwd" not in result.output


@pytest.mark.parametrize("plugin", ["flowstone_http", "flowstone_s3", "flowstone_db"])
def test_W5_every_sensor_of_the_plugins_requires_an_asset(plugin):  # type: ignore[no-untyped-def]
    module = importlib.import_module(plugin)
    assert all(sensor.asset_required for sensor in module.flowstone_sensors().values())


def test_W5_webhook_without_an_asset_is_refused(check):  # type: ignore[no-untyped-def]
    file = Path("setup.cfg")
    check("partition = day\n")
    file.write_text(file.read_text().replace("asset = prices\n", ""))
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 2
    assert "setup.cfg:4: [flowstone:sensor:prices] asset: missing setting" in result.output


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("partition = day\n  every = 5m\n", "8: [flowstone:sensor:prices] every: indented line"),
        ("partition = 'day\n  x\n", "line 8 is indented, so it continues this value"),
        ("partition = day\n  every: 5m\n", "line 8 is indented, so it continues this value"),
        ("check = a[\n  b\npartition = day\n", "line 8 is indented, so it continues this value"),
    ],
)
def test_W6_indented_line_is_pointed_at(check, settings, said):  # type: ignore[no-untyped-def]
    result = check(f"{settings}url = https://example.org/x\n")
    assert result.exit_code == 2
    (error,) = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert said in error
    assert "Bad jmespath" not in error


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "partition_fn = nosuch_module:days\n",
            "partition_fn: no module named 'nosuch_module' (searched in",
        ),
        (
            "partition_fn = webhook_check_pipeline:nothing\n",
            (
                "partition_fn: module 'webhook_check_pipeline' has no attribute 'nothing' "
                "(did you mean 'nothings'?)"
            ),
        ),
        ("partition_fn = webhook_check_pipeline:NUMBER\n", "partition_fn: must be a function"),
        (
            "partition_fn = webhook_check_broken:days\n",
            "partition_fn: cannot import webhook_check_broken:days: KeyError",
        ),
        ("partition = day\nbearer_token =\n", "bearer_token: must not be empty"),
    ],
)
def test_W6_function_that_cannot_be_imported_is_explained(check, settings, said):  # type: ignore[no-untyped-def]
    Path("webhook_check_broken.py").write_text("raise KeyError('day')\n")
    result = check(settings)
    assert result.exit_code == 2
    (error,) = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert said in error
