import functools
import inspect
from datetime import timedelta
from pathlib import Path

import pydantic
import pytest

from flowstone_core.config import pipeline as pipeline_module
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.errors import ValidationError
from flowstone_core.model.event import NotTriggered
from flowstone_core.model.sensor import Sensor, SensorConfig


class Config(SensorConfig):
    bucket: str
    secret_key: pydantic.SecretStr = pydantic.SecretStr("")
    retries: int = 3


class Feed(Sensor[Config, int]):
    Config = Config

    def init(self):
        return 0

    def poll(self, state):
        return NotTriggered(state)


def raw(context):
    """Makes it."""


def here(offset):
    """The place in this file that many lines after the call."""
    frame = inspect.currentframe().f_back
    return f"{__file__}:{frame.f_lineno + offset}"


def problems(caught, place):
    """The problems of an error, each of which must name the place."""
    for problem in caught.value.problems:
        assert problem.where == place
        assert str(problem).startswith(f"{place}: ")
    return [str(problem).removeprefix(f"{place}: ") for problem in caught.value.problems]


@pytest.fixture
def shop():
    pipeline = Pipeline("shop")
    pipeline.asset(raw)
    return pipeline


async def coroutine(context): ...


async def async_generator(context):
    yield


def generator(context):
    yield


NOT_A_NAME = "sensor 's' asset: an asset must be named by a text, not by {}"


class TestAssets:
    def test_decorated_function_becomes_an_asset_unchanged(self, shop):
        place = here(2)

        @shop.asset(depends_on=["raw"], follow=True, max_attempts=2, backoff="1m")
        def report(context):
            return {"rows": 1}

        asset = shop.assets["report"]
        assert asset.function is report
        assert (asset.name, asset.depends_on, asset.follow) == ("report", ("raw",), True)
        assert (asset.max_attempts, asset.backoff) == (2, timedelta(minutes=1))
        assert asset.backoff_limit == timedelta(minutes=30)
        assert (shop.assets["raw"].max_attempts, shop.assets["raw"].follow) == (5, False)
        assert shop.assets["raw"].backoff == timedelta(seconds=5)
        assert asset.where == place
        assert list(shop.assets) == ["raw", "report"]
        assert shop.assets.followers("raw") == ("report",)
        assert shop.assets["raw"].description == "Makes it."

    @pytest.mark.parametrize("name", [None, "orders.v2"])
    def test_asset_may_have_another_name_than_its_function(self, name):
        pipeline = Pipeline("shop")
        pipeline.asset(name=name)(raw)
        assert list(pipeline.assets) == [name or "raw"]

    @pytest.mark.parametrize(
        "depends_on", [("raw",), {"raw"}, {"raw": 1}.keys(), (name for name in ["raw"])]
    )
    def test_depends_on_takes_any_iterable_of_names(self, depends_on):
        pipeline = Pipeline("shop")
        pipeline.asset(raw)
        pipeline.asset(name="b", depends_on=depends_on)(raw)
        assert pipeline.assets["b"].depends_on == ("raw",)

    @pytest.mark.parametrize(
        "function", [functools.partial(raw), Feed(Config(bucket="b")).poll, print, max]
    )
    def test_any_callable_of_one_argument_is_accepted(self, function, shop):
        shop.asset(name="b")(function)
        assert shop.assets["b"].function == function

    def test_returned_mapping_is_a_copy(self, shop):
        before = shop.assets
        shop.asset(name="b")(raw)
        assert list(before) == ["raw"]

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"depends_on": ["b"]}, ["asset 'b': dependency cycle: the asset depends on itself"]),
            (
                {"depends_on": ["rwa"]},
                ["asset 'b' depends_on: unknown asset 'rwa' (did you mean 'raw'?)"],
            ),
            (
                {"depends_on": ["zzz", "yyy"]},
                [
                    "asset 'b' depends_on: unknown asset 'zzz' (declared so far: r",
                    "asset 'b' depends_on: unknown asset 'yyy' (declared so far: r",
                ],
            ),
            ({"depends_on": ["raw", "raw"]}, ["asset 'b' depends_on: duplicate dependency 'raw'"]),
            (
                {"depends_on": "raw"},
                [
                    "asset 'b' depends_on: must be a list of names: write [...] around the one ",
                ],
            ),
            (
                {"depends_on": None},
                ["asset 'b' depends_on: must be a list, one item a line, got None"],
            ),
            (
                {"depends_on": [["raw"]]},
                ["asset 'b' depends_on: an asset must be named by a text, not by ['raw']"],
            ),
            ({"follow": True}, ["asset 'b': follow needs depends_on"]),
            ({"name": "raw"}, ["duplicate asset 'raw' (first declared at "]),
            (
                {"name": "a b"},
                ["asset 'a b' name: invalid asset name 'a b' (use letters, dig"],
            ),
            ({"name": 5}, ["asset 5 name: invalid asset name 5 (use letters, digits, '_', "]),
            ({"name": ["b"]}, ["asset ['b'] name: invalid asset name ['b'] (use letters"]),
            (
                {"dependson": []},
                ["asset 'b' dependson: unknown setting (did you mean 'depends_on'"],
            ),
            (
                {"max_attempts": 0},
                ["asset 'b' max_attempts: must be at least 1"],
            ),
            ({"max_attempts": "5"}, ["asset 'b' max_attempts: must be a whole number"]),
            ({"follow": 1}, ["asset 'b' follow: must be true or false, got 1"]),
            ({"backoff": 5}, ["asset 'b' backoff: a duration is a text such as '30s', or a timed"]),
            ({"backoff": "-5s"}, ["asset 'b' backoff: '-5s' is not a duration: use 30s, 5m, "]),
            ({"backoff_limit": "0s"}, ["asset 'b' backoff_limit: 0s is out of bounds: use 1ms"]),
            (
                {"depends_on": ["b", "rwa"], "max_attempts": 0, "follw": True, "name": "raw"},
                [
                    "asset 'raw' max_attempts: must be at least 1, got 0",
                    "asset 'raw' follw: unknown setting (did you mean 'follow'?)",
                    "duplicate asset 'raw' (first declared at ",
                    "asset 'raw' depends_on: unknown asset 'b' (declared so far: ",
                    "asset 'raw' depends_on: unknown asset 'rwa' (did you mean 'raw'",
                ],
            ),
        ],
        ids=str,
    )
    def test_invalid_declaration_reports_every_problem(self, shop, options, said):
        options = {"name": "b"} | options
        with pytest.raises(ValidationError) as caught:
            shop.asset(**options)(raw)
        texts = problems(caught, here(-1))
        assert len(texts) == len(said)
        for text, beginning in zip(texts, said, strict=True):
            assert text.startswith(beginning)
        assert list(shop.assets) == ["raw"]

    def test_duplicate_names_the_first_declaration(self):
        pipeline = Pipeline("shop")
        pipeline.asset(raw)
        first = here(-1)
        with pytest.raises(ValidationError, match="duplicate asset 'raw'") as caught:
            pipeline.asset(raw)
        assert problems(caught, here(-1)) == [f"duplicate asset 'raw' (first declared at {first})"]

    def test_asset_function_instead_of_a_name_gets_a_hint(self, shop):
        with pytest.raises(ValidationError) as caught:
            shop.asset(name="b", depends_on=[raw])(raw)
        (text,) = problems(caught, here(-1))
        assert text.endswith(
            f"an asset must be named by a text, not by {raw!r} (write its name, 'raw')"
        )

    @pytest.mark.parametrize(
        ("function", "said"),
        [
            (5, "an asset must be a function, not 5"),
            (Feed, f"an asset must be a function, not {Feed!r}"),
            (
                coroutine,
                "asset function 'coroutine': must not be async: FlowStone calls it in a thread ",
            ),
            (async_generator, "asset function 'async_generator': must not be async: "),
            (generator, "asset function 'generator': must not be a generator: a call"),
            (lambda: None, "asset function '<lambda>': must take one argument, the context"),
            (lambda a, b: None, "asset function '<lambda>': must take one argument"),
            (lambda context: None, "asset '<lambda>' name: invalid asset name '<lambda>'"),
            (functools.partial(raw), "asset '' name: invalid asset name ''"),
        ],
    )
    def test_invalid_asset_function_is_refused(self, shop, function, said):
        with pytest.raises(ValidationError) as caught:
            shop.asset(function)
        (text,) = problems(caught, here(-1))
        assert text.startswith(said)

    def test_decorator_without_a_function_is_refused(self, shop):
        with pytest.raises(ValidationError, match="an asset must be a function, not None"):
            shop.asset()(None)


class TestSensors:
    def test_sensor_is_declared(self, shop):
        shop.sensor("feed", Feed, asset="raw", every="5s", bucket="b", secret_key="hunter2")
        declaration = shop.sensors["feed"]
        assert declaration.where == here(-2)
        assert declaration.settings.every == timedelta(seconds=5)
        assert (declaration.config.bucket, declaration.asset) == ("b", "raw")
        assert declaration.secrets == ("hunter2",)

    def test_sensor_may_leave_the_asset_to_its_events(self, shop):
        shop.sensor("feed", Feed, bucket="b")
        assert shop.sensors["feed"].asset is None

    def test_returned_mapping_is_a_copy(self, shop):
        shop.sensors["x"] = None
        assert shop.sensors == {}

    @pytest.mark.parametrize(
        ("name", "kind", "options", "said"),
        [
            ("a b", Feed, {"bucket": "b"}, ["invalid sensor name 'a b' (use letters"]),
            (None, Feed, {"bucket": "b"}, ["invalid sensor name None"]),
            (["x"], Feed, {"bucket": "b"}, ["invalid sensor name ['x']"]),
            (
                "s",
                Sensor,
                {},
                ["sensor 's': <class 'flowstone_core.model.sensor.Sensor'> is not a sen"],
            ),
            ("s", "Feed", {}, ["sensor 's': 'Feed' is not a sensor class (a sensor class derives"]),
            ("s", Feed(Config(bucket="b")), {}, ["sensor 's': <"]),
            ("s", Feed, {}, ["sensor 's' bucket: missing setting"]),
            (
                "s",
                Feed,
                {"asset": "rwa", "buckt": "b", "evry": "5s", "deadline": "never"},
                [
                    "sensor 's' asset: unknown asset 'rwa' (did you mean 'raw'?)",
                    "sensor 's' deadline: 'never' is not a duration",
                    "sensor 's' bucket: missing setting",
                    "sensor 's' buckt: unknown setting (did you mean 'bucket'?)",
                    "sensor 's' evry: unknown setting (did you mean 'every'?)",
                ],
            ),
            (
                "s",
                Feed,
                {"bucket": "b", "asset": raw},
                [NOT_A_NAME.format("<function raw")],
            ),
            (
                "s",
                Feed,
                {"bucket": "b", "asset": ["raw"]},
                [NOT_A_NAME.format("['raw']")],
            ),
            (
                "s",
                Feed,
                {"bucket": "b", "secret_key": ["hunter2"], "retries": "some"},
                [
                    "sensor 's' secret_key: invalid value (hidden: it is a secret)",
                    "sensor 's' retries: must be a whole number, got 'some'",
                ],
            ),
        ],
    )
    def test_invalid_declaration_reports_every_problem(self, shop, name, kind, options, said):
        with pytest.raises(ValidationError) as caught:
            shop.sensor(name, kind, **options)
        texts = problems(caught, here(-1))
        assert len(texts) == len(said)
        for text, beginning in zip(texts, said, strict=True):
            assert text.startswith(beginning)
        assert "hunter2" not in str(caught.value)
        assert shop.sensors == {}

    def test_duplicate_is_reported_with_the_other_problems(self, shop):
        shop.sensor("feed", Feed, bucket="b")
        first = here(-1)
        with pytest.raises(ValidationError) as caught:
            shop.sensor("feed", Feed)
        assert problems(caught, here(-1)) == [
            "sensor 'feed' bucket: missing setting",
            f"duplicate sensor 'feed' (first declared at {first})",
        ]
        assert shop.sensors["feed"].where == first


class TestPlace:
    @pytest.mark.parametrize("name", ["", "a b", None, 5])
    def test_pipeline_with_an_invalid_name_is_refused(self, name):
        with pytest.raises(ValidationError) as caught:
            Pipeline(name)
        (text,) = problems(caught, here(-1))
        assert text.startswith(f"invalid pipeline name {name!r} (use letters, digits")

    def test_pipeline_has_its_name(self):
        assert Pipeline("shop").name == "shop"

    def test_file_beside_the_package_is_the_users(self, shop):
        package = Path(pipeline_module.__file__).parents[1]
        beside = f"{package}_user/shop.py"
        code = compile("\n\npipeline.asset(function)", beside, "exec")
        with pytest.raises(ValidationError) as caught:
            exec(code, {"pipeline": shop, "function": raw})  # noqa: S102 - gives it a file name
        assert caught.value.problems[0].where == f"{beside}:3"

    def test_code_in_the_package_points_at_its_caller(self, shop):
        within = f"{Path(pipeline_module.__file__).parents[1]}/anywhere.py"
        space = {}
        exec(compile("def declare(p, f): p.asset(f)", within, "exec"), space)  # noqa: S102 - as above
        with pytest.raises(ValidationError) as caught:
            space["declare"](shop, raw)
        problems(caught, here(-1))


# -- on_trigger ------------------------------------------------------------------------------------


def test_on_trigger_function_becomes_the_sensors_asset():
    pipeline = Pipeline("shop")
    pipeline.sensor("feed", Feed, on_trigger=raw, bucket="shop")
    assert pipeline.assets["feed"].function is raw
    assert pipeline.sensors["feed"].asset == "feed"
    assert pipeline.assets["feed"].where == pipeline.sensors["feed"].where


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"asset": "raw"}, "asset and on_trigger exclude each other"),
        ({"on_trigger": "shop:raw"}, "must be a function, not the text 'shop:raw'"),
        ({"on_trigger": 5}, "not 5"),
        ({"on_trigger": lambda: None}, "must take one argument, the context"),
    ],
)
def test_invalid_on_trigger_is_reported_with_the_rest(options, said):
    pipeline = Pipeline("shop")
    pipeline.asset(raw)
    with pytest.raises(ValidationError) as caught:
        pipeline.sensor("feed", Feed, **{"on_trigger": raw, "bukket": "shop"} | options)
    assert said in str(caught.value)
    assert "bukket" in str(caught.value)
    assert list(pipeline.assets) == ["raw"]
    assert not pipeline.sensors


def test_on_trigger_of_a_sensor_named_like_an_asset_is_refused():
    pipeline = Pipeline("shop")
    pipeline.asset(raw)
    with pytest.raises(ValidationError, match="duplicate asset 'raw'"):
        pipeline.sensor("raw", Feed, on_trigger=raw, bucket="shop")


def test_invalid_sensor_name_is_reported_once():
    with pytest.raises(ValidationError) as caught:
        Pipeline("shop").sensor("a:b", Feed, on_trigger=raw, bucket="shop")
    assert str(caught.value).count("invalid sensor name") == 1
