import os
import sys
import time
from datetime import timedelta

import pytest

from flowstone_core.config.file.reader import Config
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.validation import validate
from flowstone_core.errors import ValidationError
from flowstone_core.plugin.entry_points import PluginReport
from tests.config.bucket_plugin import BucketSensor, LocalEngine, plugins_of

CANARY = "c4n4ry-Z9qXv7Kp"


def shop():
    pipeline = Pipeline("shop")

    @pipeline.asset
    def raw_orders(context):
        return None

    return pipeline


def test_empty_configuration_is_valid():
    project = validate(Config(), plugins=plugins_of())
    assert project.file is None
    assert project.run.store == "sqlite:///flowstone.db"
    assert project.run.model_fields_set == set()
    assert project.engine is LocalEngine
    assert dict(project.assets) == dict(project.sensors) == {}
    assert project.warnings == ()


def test_complete_configuration_becomes_a_project(check, tmp_path):
    pipeline = shop()
    project = check(
        """
        [flowstone]
        store = sqlite:///other.db
        plugins =
            flowstone_Buckets
        poll_threads = 4
        grace = 5s
        [flowstone:sensor:new_orders]
        type = bucket
        every = 5s
        asset = raw_orders
        bucket = shop
        suffixes =
            .csv
            .csv.gz
        secret_key = ${KEY}
        sql =
            SELECT 1
            type = 'x'
        """,
        pipeline,
        environ={"KEY": CANARY},
    )
    assert project.file == tmp_path / "flowstone.cfg"
    assert (project.run.poll_threads, project.run.grace) == (4, timedelta(seconds=5))
    assert project.run.model_fields_set == {"store", "plugins", "poll_threads", "grace"}
    assert project.assets["raw_orders"] is pipeline.assets["raw_orders"]
    sensor = project.sensors["new_orders"]
    assert sensor.sensor_class is BucketSensor
    assert sensor.settings.every == timedelta(seconds=5)
    assert sensor.settings.model_fields_set == {"every"}
    assert sensor.asset == "raw_orders"
    assert sensor.config.suffixes == (".csv", ".csv.gz")
    assert sensor.config.sql == "SELECT 1\ntype = 'x'"
    assert sensor.where == f"{project.file}:8"
    assert project.redactor(f"a {CANARY} b") == "a *** b"
    assert CANARY not in repr(project)


def test_C1_every_problem_is_reported_at_once(problems, module):
    name = module("import nothing_like_this")
    assert problems(
        f"""\
        [flowstone]
        store = ${{STORE}}
        pol_threads = 4
        asset_threads = none
        plugins =
            flowstone-bucket
        engine = loca
        pipelines =
            {name}:pipeline
            shop
        [flowston:sensor:x]
        [flowstone:sensor:a]
        type = buckt
        asset = raw_order
        every = often
        [flowstone:sensor:b]
        type = bucket
        buckt = shop
        evry = 5s
        pages = many
        """,
        shop(),
    ) == [
        (
            "flowstone.cfg:2: [flowstone] store: environment variable STORE is not set "
            "(set it, or write ${STORE:-default})"
        ),
        (
            "flowstone.cfg:3: [flowstone] pol_threads: unknown setting "
            "(did you mean 'poll_threads'?)"
        ),
        ("flowstone.cfg:4: [flowstone] asset_threads: must be a whole number, got 'none'"),
        (
            "flowstone.cfg:5: [flowstone] plugins: unknown distribution 'flowstone-bucket': it has "
            "no installed plugin (did you mean 'flowstone-buckets'?)"
        ),
        ("flowstone.cfg:7: [flowstone] engine: unknown engine 'loca' (did you mean 'local'?)"),
        (
            f"flowstone.cfg:8: [flowstone] pipelines: cannot import {name}:pipeline: "
            "ModuleNotFoundError: No module named 'nothing_like_this' "
            f"(look at {name}.py:1)"
        ),
        (
            "flowstone.cfg:8: [flowstone] pipelines: invalid reference 'shop' "
            "(write module:name, such as shop.pipeline:pipeline)"
        ),
        (
            "flowstone.cfg:11: [flowston:sensor:x]: unknown section (did you mean "
            "[flowstone:sensor:x]? FlowStone's sections are [flowstone], "
            "[flowstone:sensor:NAME] and [flowstone:schedule:NAME])"
        ),
        (
            "flowstone.cfg:13: [flowstone:sensor:a] type: unknown sensor type 'buckt' "
            "(did you mean 'bucket'?)"
        ),
        (
            "flowstone.cfg:14: [flowstone:sensor:a] asset: unknown asset 'raw_order' "
            "(did you mean 'raw_orders'?)"
        ),
        (
            "flowstone.cfg:15: [flowstone:sensor:a] every: 'often' is not a duration: use 30s, 5m, "
            "1h30m, 2d or ISO 8601 such as PT1M30S; months and years have no fixed length"
        ),
        ("flowstone.cfg:16: [flowstone:sensor:b] bucket: missing setting (the bucket's name)"),
        "flowstone.cfg:18: [flowstone:sensor:b] buckt: unknown setting (did you mean 'bucket'?)",
        "flowstone.cfg:19: [flowstone:sensor:b] evry: unknown setting (did you mean 'every'?)",
        ("flowstone.cfg:20: [flowstone:sensor:b] pages: must be a whole number, got 'many'"),
    ]


def test_overrides_win_unless_they_are_none(check):
    project = check(
        "[flowstone]\nstore = sqlite:///file.db\ngrace = never\n",
        store="sqlite:///mine.db",
        grace=timedelta(seconds=1),
        engine=None,
    )
    assert project.run.store == "sqlite:///mine.db"
    assert project.run.grace == timedelta(seconds=1)
    assert project.run.model_fields_set == {"store", "grace"}


def test_invalid_override_is_reported_without_a_line(problems):
    assert problems("", stor="x", poll_threads=0, plugins=("nothing-like-it",)) == [
        "poll_threads: must be at least 1, got 0",
        "stor: unknown setting (did you mean 'store'?)",
        (
            "plugins: unknown distribution 'nothing-like-it': it has no installed plugin "
            "(pip install nothing-like-it)"
        ),
    ]


def test_unknown_engine_is_a_problem(problems):
    assert problems("[flowstone]\nengine = oban\n") == [
        ("flowstone.cfg:2: [flowstone] engine: unknown engine 'oban' (known: local)")
    ]


def test_pipelines_are_imported_from_the_folder_of_the_file(check, module):
    name = module(
        """
        from flowstone_core import Pipeline
        pipeline = Pipeline("p")
        @pipeline.asset
        def made(context): ...
        """
    )
    twice = f"[flowstone]\npipelines =\n  {name}:pipeline\n  {name}:pipeline\n"
    assert list(check(twice).assets) == ["made"]
    pipeline = sys.modules[name].pipeline
    assert list(check(twice, pipeline, pipeline).assets) == ["made"]


def test_object_that_is_not_a_pipeline_is_refused(problems, module):
    name = module("pipeline = 3")
    assert problems(f"[flowstone]\npipelines = {name}:pipeline\n", "shop") == [
        "flowstone.cfg:2: [flowstone] pipelines: an argument is not a Pipeline, but of type str",
        (
            "flowstone.cfg:2: [flowstone] pipelines: "
            f"{name}:pipeline is not a Pipeline, but of type int"
        ),
    ]


def test_problem_of_a_pipeline_has_the_line_in_python(problems, module):
    name = module("import sys\nfrom flowstone_core import Pipeline\nPipeline('no name')\n")
    assert problems(f"[flowstone]\npipelines = {name}:p\nengine = x\n")[1].startswith(
        f"{name}.py:3: invalid pipeline name 'no name'"
    )


def test_names_in_two_pipelines_are_duplicates(problems):
    first, second = shop(), shop()
    first.sensor("new_orders", BucketSensor, bucket="a")
    second.sensor("new_orders", BucketSensor, bucket="b")
    said = problems("", first, second)
    assert len(said) == 2
    where = first.assets["raw_orders"].where
    assert said[0] == (f"{where}: duplicate asset 'raw_orders' (first declared at {where})")
    places = [pipeline.sensors["new_orders"].where for pipeline in (first, second)]
    assert said[1] == (
        f"{places[1]}: duplicate sensor 'new_orders' (first declared at {places[0]})"
    )


def test_broken_plugins_are_warnings(check, tmp_path):
    broken = PluginReport(
        "odd", "flowstone-odd", "3", "broken", f"ValueError: {CANARY}", "reinstall it", (), (), ()
    )
    project = check(
        "[flowstone]\nstore = postgresql://u:${PW}@h/100%\n[DEFAULT]\nevery = 1s\n",
        environ={"PW": CANARY},
        reports=(broken,),
    )
    assert [str(w).replace(f"{tmp_path}{os.sep}", "") for w in project.warnings] == [
        (
            "flowstone.cfg:3: [DEFAULT]: every has no effect in FlowStone "
            "([DEFAULT] is not applied: write each setting in its section)"
        ),
        "plugin 'odd' of flowstone-odd 3: broken: ValueError: *** (reinstall it)",
    ]


def test_C2_indented_settings_are_problems(problems):
    assert problems(
        """\
        [flowstone]
        engine = local
          store = x
        plugins =
            flowstone-buckets
            grace = 5s
        """
    ) == [
        ("flowstone.cfg:2: [flowstone] engine: unknown engine 'local\\nstore = x' (known: local)"),
        (
            "flowstone.cfg:3: [flowstone] store: indented line is part of the value of 'engine', "
            "not a setting (remove the blanks before it; if it does belong to 'engine', begin that "
            "value on the line below its key)"
        ),
        (
            "flowstone.cfg:4: [flowstone] plugins: unknown distribution 'grace = 5s': it has no "
            "installed plugin (write one distribution a line, without commas)"
        ),
        (
            "flowstone.cfg:6: [flowstone] grace: indented line is part of the value of 'plugins', "
            "not a setting (remove the blanks before it; if it does belong to 'plugins', begin "
            "that value on the line below its key)"
        ),
    ]


def test_problem_without_a_line_is_reported():
    with pytest.raises(ValidationError) as caught:
        validate(Config(), overrides={"engine": "no"}, plugins=plugins_of())
    assert [str(problem) for problem in caught.value.problems] == [
        "engine: unknown engine 'no' (known: local)"
    ]


def test_thousands_of_sensors_are_validated_in_seconds(check):
    sensors = (
        f"[flowstone:sensor:s{i}]\ntype = bucket\nbucket = b{i}\nevery = 5s\nsecret_key = key-{i}\n"
        for i in range(2_000)
    )
    started = time.process_time()
    assert len(check("".join(sensors)).sensors) == 2_000
    assert time.process_time() - started < 4


def test_thousand_problems_are_reported_in_seconds(problems):
    text = "".join(
        f"[flowstone:sensor:s{i}]\ntype = bukket\nsecret_key = key-{i}\n" for i in range(1_000)
    )
    started = time.process_time()
    assert len(problems(text)) == 1_000
    assert time.process_time() - started < 4


def test_plugins_are_discovered_if_none_are_given():
    assert validate(Config()).run.engine == "local"


def test_on_trigger_names_a_function_beside_the_file(check, module):
    name = module('def handle(context):\n    """Handles."""\n')
    project = check(
        f"""
        [flowstone:sensor:feed]
        type = bucket
        bucket = shop
        on_trigger = {name}:handle
        """
    )
    assert project.sensors["feed"].asset == "feed"
    assert project.assets["feed"].description == "Handles."


def test_invalid_on_trigger_functions_are_reported(problems, module):
    name = module("def handle(): ...\ndef other(context): ...\n")
    text = f"""
        [flowstone:sensor:one]
        type = bucket
        bucket = shop
        on_trigger = {name}:handel
        [flowstone:sensor:two]
        type = bucket
        bucket = shop
        on_trigger = {name}:handle
        [flowstone:sensor:raw_orders]
        type = bucket
        bucket = shop
        on_trigger = {name}:other
        asset = raw_orders
        [flowstone:sensor:three]
        type = bucket
        bucket = shop
        on_trigger =
        """
    said = problems(text, shop())
    subject = "[flowstone:sensor:{}] on_trigger"
    assert said[0] == (
        f"flowstone.cfg:5: {subject.format('one')}: module {name!r} has no attribute 'handel' "
        "(did you mean 'handle'?)"
    )
    assert said[1].startswith(
        f"flowstone.cfg:9: {subject.format('two')}: must take one argument, the context"
    )
    assert said[2].startswith(
        f"flowstone.cfg:13: {subject.format('raw_orders')}: asset and on_trigger exclude each other"
    )
    assert "duplicate asset 'raw_orders'" in said[3]
    assert said[4].startswith(f"flowstone.cfg:18: {subject.format('three')}: invalid reference ''")
    assert len(said) == 5


def test_F8_quotes_warn_but_not_where_they_mean_something(check, tmp_path):
    project = check(
        """
        [flowstone]
        store = sqlite:///x.db # mine

        [flowstone:sensor:orders]
        type = bucket
        asset = raw_orders
        bucket = 'shop'
        sql = 'a'
        """,
        shop(),
    )
    said = [str(each).replace(f"{tmp_path}{os.sep}", "") for each in project.warnings]
    assert [each.rpartition(": ")[0] for each in said] == [
        "flowstone.cfg:3: [flowstone] store",
        "flowstone.cfg:8: [flowstone:sensor:orders] bucket",
    ]
