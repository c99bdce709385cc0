from datetime import timedelta
from typing import Any

import pydantic
import pydantic_core
import pytest

from flowstone_core.config.declarations.problems import (
    missing_asset,
    name_problem,
    pydantic_problems,
)
from flowstone_core.config.declarations.sensor_declaration import declare_sensor
from flowstone_core.errors import Problem
from flowstone_core.model.event import NotTriggered
from flowstone_core.model.sensor import Sensor, SensorConfig, is_sensor_class

CANARY = "cAnary-hunter2"


class Login(pydantic.BaseModel):
    user: str = "me"
    password: str = ""
    pin: int = 0


class FeedConfig(SensorConfig):
    """Every way in which a secret may come in."""

    bucket: str = pydantic.Field(description="where the files are")
    retries: int = 3
    url: str = ""
    dsn: pydantic.PostgresDsn | None = None
    api_token: str = ""
    number_token: int = 1_000
    key: pydantic.SecretStr | None = None
    raw: pydantic.SecretBytes | None = None
    seed: pydantic.Secret[int] | None = None
    login: Login = Login()
    headers: dict[str, str] = pydantic.Field(default_factory=dict)
    many: list[pydantic.SecretStr] = pydantic.Field(default_factory=list)
    anything: Any = None


class Feed(Sensor[FeedConfig, int]):
    Config = FeedConfig

    def init(self):
        return 0

    def poll(self, state):
        return NotTriggered(state)


def declare(options, name="feed", sensor_class=Feed, **more):
    options = {"bucket": "shop"} | options
    more = {"assets": ("raw",), "where": "p:1"} | more
    return declare_sensor(name, sensor_class, options, **more)


def declared(options, **more):
    declaration, problems = declare(options, **more)
    assert problems == []
    return declaration


def wrong(options, **more):
    declaration, problems = declare(options, **more)
    assert declaration is None
    assert problems
    return [str(problem) for problem in problems]


class Bound(Feed):
    """A sensor whose events name no asset."""

    asset_required = True


def test_W5_class_that_names_no_asset_needs_one_in_its_declaration():
    assert wrong({}, sensor_class=Bound) == [
        (
            "p:1: sensor 'feed' asset: missing setting (its events name no asset: give it an "
            "asset, or a function as on_trigger)"
        )
    ]
    assert declared({}, sensor_class=Bound, asset="raw").asset == "raw"
    assert declared({}).asset is None
    (problem,) = wrong({}, sensor_class=Bound, asset="new")
    assert "unknown asset 'new'" in problem


class TestDeclared:
    def test_common_and_own_settings_are_separated(self):
        declaration = declared({"every": "5s", "retries": "7"}, asset="raw")
        assert declaration.settings.every == timedelta(seconds=5)
        assert (declaration.config.bucket, declaration.config.retries) == ("shop", 7)
        assert (declaration.name, declaration.asset, declaration.where) == ("feed", "raw", "p:1")
        assert declaration.sensor_class is Feed

    @pytest.mark.parametrize(
        ("option", "value", "secret"),
        [
            ("api_token", CANARY, CANARY),
            ("key", CANARY, CANARY),
            ("raw", CANARY.encode(), CANARY),
            ("raw", b"\xff-not-utf-8", "\ufffd-not-utf-8"),
            ("seed", 12345678, "12345678"),
            ("number_token", 12345678, "12345678"),
            ("many", ["other", CANARY], CANARY),
            ("login", {"password": CANARY}, CANARY),
            ("headers", {"Authorization": CANARY}, CANARY),
            ("anything", ({"token": [CANARY]},), CANARY),
            ("url", f"ftp://me:{CANARY}@host/", CANARY),
            ("url", "ftp://me:p%40ss%20word@host/", "p@ss word"),
            ("url", "ftp://me:p%40ss%20word@host/", "p%40ss%20word"),
            ("dsn", f"postgresql://me:{CANARY}@host/db", CANARY),
            ("key", f"https://me:{CANARY}@host/db", f"https://me:{CANARY}@host/db"),
            ("key", f"https://me:{CANARY}@host/db", CANARY),
        ],
    )
    def test_secrets_are_found_in_any_setting(self, option, value, secret):
        declaration = declared({option: value})
        assert secret in declaration.secrets
        assert secret not in repr(declaration)

    def test_plain_values_are_not_secrets(self):
        class Unsayable:
            def __str__(self):
                raise RuntimeError

        options = {"url": "http://[broken", "anything": Unsayable(), "number_token": 0}
        assert set(declared(options).secrets) == {"", "0"}


class TestWrong:
    def test_all_problems_are_reported_at_once(self):
        options = {"every": "5", "bukket": "x", "retries": "many", "deadline": None}
        name, asset, every, deadline, retries, bukket = wrong(options, name="a b", asset="rw")
        assert name.startswith("p:1: invalid sensor name 'a b' (use letters, digits, '_', ")
        assert asset == ("p:1: sensor 'a b' asset: unknown asset 'rw' (did you mean 'raw'?)")
        assert every.startswith("p:1: sensor 'a b' every: '5' is not a duration: use 30s, 5m, ")
        assert deadline.startswith("p:1: sensor 'a b' deadline: a duration is a text such as ")
        assert retries == ("p:1: sensor 'a b' retries: must be a whole number, got 'many'")
        assert bukket == "p:1: sensor 'a b' bukket: unknown setting (did you mean 'bucket'?)"

    def test_missing_setting_has_its_description_as_hint(self):
        declaration, problems = declare_sensor("feed", Feed, {}, assets=())
        assert declaration is None
        assert problems == [
            Problem("missing setting", "", "sensor 'feed' bucket", "where the files are")
        ]

    def test_misspelt_common_setting_gets_a_suggestion(self):
        (text,) = wrong({"evry": "5s"})
        assert text == "p:1: sensor 'feed' evry: unknown setting (did you mean 'every'?)"
        (text,) = wrong({"zzzz": "5s"})
        assert text.endswith(
            "unknown setting (flowstone plugins show TYPE lists the settings of a sensor type)"
        )

    @pytest.mark.parametrize("name", ["interval", "intervall", "frequency", "period"])
    def test_N20_other_tools_name_of_a_setting_gets_ours(self, name):
        (text,) = wrong({name: "5s"})
        assert text.endswith(f"{name}: unknown setting (did you mean 'every'?)")

    def test_N20_unknown_setting_names_one_that_is_near_or_none(self):
        (text,) = wrong({"back_of": "5s", "bucket": "b"})
        assert text.endswith("unknown setting (did you mean 'backoff'?)")
        (text,) = wrong({"after_it_failed": "5s"})
        assert text.endswith(
            "unknown setting (flowstone plugins show TYPE lists the settings of a sensor type)"
        )

    def test_single_setting_may_have_a_place(self):
        (text,) = wrong({"every": "5"}, places={"every": "setup.cfg:7"})
        assert text.startswith("setup.cfg:7: sensor 'feed' every: '5' is not a duration")

    @pytest.mark.parametrize("thing", [None, 5, "Feed", Sensor, SensorConfig, list[int], Feed.poll])
    def test_object_that_is_not_a_sensor_class_is_refused(self, thing):
        assert not is_sensor_class(thing)
        texts = wrong({"every": "5"}, sensor_class=thing)
        assert "every: '5' is not a duration" in texts[0]
        assert f"{thing!r:.120} is not a sensor class" in texts[1]

    @pytest.mark.parametrize("config", [None, FeedConfig(bucket="x"), Login])
    def test_class_without_a_config_model_is_refused(self, config):
        assert not is_sensor_class(type("Odd", (Feed,), {"Config": config}))

    def test_config_field_with_a_reserved_name_is_refused(self):
        class Config(SensorConfig):
            deadline: str = ""
            asset: str = ""

        texts = wrong({}, sensor_class=type("Greedy", (Feed,), {"Config": Config}))
        assert texts[0] == (
            "p:1: sensor 'feed': reserved Config field 'asset': every sensor has a setting "
            "with this name (give the field another name)"
        )
        assert "'deadline'" in texts[1]

    @pytest.mark.parametrize(
        ("raised", "text"),
        [
            (KeyError("x"), "Config raised KeyError: 'x'"),
            (SystemExit(f"{CANARY} is bad"), "Config raised SystemExit: *** is bad"),
            (OSError(CANARY), "Config raised OSError: ***"),
        ],
    )
    def test_exception_of_a_validator_is_contained(self, raised, text):
        class Config(SensorConfig):
            bucket: str
            api_token: str

            @pydantic.model_validator(mode="after")
            def _check(self):
                raise raised

        odd = type("Odd", (Feed,), {"Config": Config})
        assert wrong({"api_token": CANARY}, sensor_class=odd) == [
            f"p:1: sensor 'feed': {text} (a validator should raise ValueError)"
        ]


class Strict(SensorConfig):
    bucket: str = ""
    pin: pydantic.SecretStr = pydantic.Field(pydantic.SecretStr(""), alias="x", max_length=5)
    api_token: int = 0
    login: Login = Login()
    passwords: dict[str, int] = pydantic.Field(default_factory=dict)
    url: int = 0
    plain: int = 0
    checked: str = ""

    @pydantic.field_validator("checked")
    @classmethod
    def _checked(cls, value):
        assert not value.startswith("!"), f"{value} begins with an exclamation mark"
        if value:
            raise ValueError(f"cannot use {value}")
        return value

    @pydantic.model_validator(mode="after")
    def _whole(self):
        if self.bucket == "bad":
            raise ValueError(f"the login {self.login} does not fit")
        if self.bucket == "worse":
            raise pydantic_core.PydanticCustomError("whole", "does not fit")
        return self


class TestSecrets:
    Strict = type("StrictFeed", (Feed,), {"Config": Strict})

    @pytest.mark.parametrize(
        "options",
        [
            {"x": CANARY},
            {"x": [CANARY]},
            {"api_token": CANARY},
            {"login": {"password": [CANARY]}},
            {"login": f"me:{CANARY}"},
            {"login": {"pin": CANARY, "password": CANARY}},
            {"passwords": {"token": CANARY}},
            {"url": f"postgresql://me:{CANARY}@{'x' * 80}"},
            {"url": f"postgresql://{'x' * 60}:{CANARY}@host"},
            {"plain": CANARY, "login": {"password": CANARY}},
            {"checked": CANARY, "api_token": CANARY},
            {"checked": f"!{CANARY}", "api_token": CANARY},
            {"bucket": "bad", "login": {"password": CANARY}},
            {"bucket": "worse", "login": {"password": CANARY}},
        ],
        ids=str,
    )
    def test_messages_show_no_secret(self, options):
        texts = wrong(options, sensor_class=self.Strict)
        assert "hunter2" not in "\n".join(texts)

    def test_secret_is_found_by_the_alias_of_its_field(self):
        assert wrong({"x": "123456"}, sensor_class=self.Strict) == [
            "p:1: sensor 'feed' x: invalid value (hidden: it is a secret)"
        ]

    def test_invalid_plain_value_is_shown(self):
        (text,) = wrong({"checked": "this"}, sensor_class=self.Strict)
        assert text == "p:1: sensor 'feed' checked: cannot use this"
        (text,) = wrong({"plain": "x" * 200}, sensor_class=self.Strict)
        assert text.endswith(f"got '{'x' * 79} [122 more characters]")
        (text,) = wrong({"plain": ["a"]}, sensor_class=self.Strict)
        assert text.endswith("must be a whole number, got a value of type list")


def test_nested_setting_is_named_by_its_path():
    class Model(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")
        inner: dict[str, list[int]] = pydantic.Field(default_factory=dict)

    with pytest.raises(pydantic.ValidationError) as caught:
        Model.model_validate({"inner": {"a": [1, "x"]}, "innr": 1})
    first, second = pydantic_problems(caught.value, Model, "p:1", "thing", also_known=["other"])
    assert (first.subject, first.where) == ("thing inner.a.1", "p:1")
    assert (second.subject, second.hint) == ("thing innr", "did you mean 'inner'?")


def test_unknown_nested_setting_gets_no_hint():
    class Inner(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")

    class Outer(pydantic.BaseModel):
        inner: Inner

    with pytest.raises(pydantic.ValidationError) as caught:
        Outer.model_validate({"inner": {"x": 1}})
    assert pydantic_problems(caught.value, Outer, "", "") == [
        Problem("unknown setting", subject="inner.x")
    ]


@pytest.mark.parametrize("name", [None, 5, "", "a b", ["a"], "x" * 201])
def test_invalid_name_is_a_problem(name):
    problem = name_problem(name, "pipeline", "p:1")
    assert problem.message == f"invalid pipeline name {name!r:.80}"
    assert name_problem("a-name", "pipeline", "p:1") is None


def raw_orders(context):
    return None


@pytest.mark.parametrize(
    ("asset", "text"),
    [
        ("raw_order", "p:1: sensor 'a' asset: unknown asset 'raw_order' (did you mean 'raw_"),
        (
            "zzz",
            "p:1: sensor 'a' asset: unknown asset 'zzz' (declared so far: b, raw_orders)",
        ),
        (raw_orders, "(write its name, 'raw_orders')"),
        (5, "p:1: sensor 'a' asset: an asset must be named by a text, not by 5"),
    ],
)
def test_unknown_asset_gets_a_hint(asset, text):
    assert text in str(missing_asset("sensor 'a' asset", asset, ["raw_orders", "b"], "p:1"))


def test_unknown_asset_without_any_declared():
    assert missing_asset("sensor 'a' asset", "a", [], "").hint == "declared so far: none"
