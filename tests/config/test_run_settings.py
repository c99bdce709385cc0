from datetime import timedelta

import pydantic
import pytest

from flowstone_core.config.run_settings import RunSettings


def test_defaults():
    assert RunSettings().model_dump() == {
        "store": "sqlite:///flowstone.db",
        "engine": "local",
        "role": "all",
        "pipelines": (),
        "plugins": None,
        "poll_threads": 32,
        "asset_threads": 8,
        "grace": timedelta(seconds=30),
        "store_wait": timedelta(minutes=5),
        "lease": timedelta(seconds=15),
        "retention": None,
    }


def test_each_setting_has_a_description():
    for name, field in RunSettings.model_fields.items():
        assert field.description, name


def test_settings_are_frozen_and_refuse_unknown_names():
    with pytest.raises(pydantic.ValidationError, match="Extra inputs are not permitted"):
        RunSettings(evry="5s")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        setattr(RunSettings(), next(iter(RunSettings.model_fields)), "x")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"poll_threads": 0}, "poll_threads"),
        ({"asset_threads": 1_001}, "asset_threads"),
        ({"grace": "2d"}, "grace"),
        ({"lease": "500ms"}, "lease"),
        ({"pipelines": "shop:pipeline"}, "pipelines"),
    ],
)
def test_setting_out_of_bounds_is_refused(settings, name):
    with pytest.raises(pydantic.ValidationError, match=name):
        RunSettings(**settings)


def test_setting_at_its_bounds_is_accepted():
    for threads in (1, 1_000):
        settings = RunSettings(poll_threads=threads, asset_threads=threads)
        assert settings.poll_threads == settings.asset_threads == threads
    assert RunSettings(lease="1s", grace="1d").lease == timedelta(seconds=1)
    assert RunSettings(lease="1h").lease == timedelta(hours=1)
    assert RunSettings(grace="0s").grace == timedelta(0)


@pytest.mark.parametrize(
    "url", ["flowstone.db", "sqlite:flowstone.db", "mysql://u:hunter2@h/d", "oracle://h", "", "h/d"]
)
def test_store_of_another_kind_is_refused(url):
    with pytest.raises(pydantic.ValidationError, match="unsupported store URL") as caught:
        RunSettings(store=url)
    assert "hunter2" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite+pysqlite:///x.db", "postgres://h/d", "postgresql+psycopg://h/d"]
)
def test_store_of_a_known_kind_is_accepted(url):
    assert RunSettings(store=url).store == url
