import sys
from itertools import count
from textwrap import dedent

import pytest

from flowstone_core.config.import_string import load_reference
from flowstone_core.errors import ValidationError

NUMBERS = count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of a name that no other test uses, and return that name."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def module(source):
        name = f"reference_test_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(dedent(source))
        return name

    return module


def refused(text, folder):
    with pytest.raises(ValidationError) as caught:
        load_reference(text, folder, "f.cfg:3", "[flowstone] pipelines")
    (problem,) = caught.value.problems
    assert problem.where == "f.cfg:3"
    assert problem.subject == "[flowstone] pipelines"
    return problem


def test_name_and_attribute_are_imported(module, tmp_path):
    name = module("class A:\n    b = 7\n")
    assert load_reference(f"{name}:A.b", tmp_path) == 7
    assert load_reference(f"{name}:A", tmp_path).__module__ == name
    assert sys.path.index(str(tmp_path)) == 0
    assert sys.path.count(str(tmp_path)) == 1


def test_installed_module_is_imported(module, tmp_path):
    assert load_reference("os.path:join", tmp_path) is __import__("os").path.join


@pytest.mark.parametrize(
    "text", ["", "shop", "shop:", ":x", "shop/pipeline.py:x", "a b:c", "a:b:c"]
)
def test_invalid_reference_is_refused(text, module, tmp_path):
    problem = refused(text, tmp_path)
    assert problem.message == f"invalid reference {text!r}"
    assert problem.hint == "write module:name, such as shop.pipeline:pipeline"


def test_module_with_its_suffix_is_told_without(tmp_path):
    problem = refused("no_such_module_x.py:y", tmp_path)
    assert problem.hint == "a module is named without .py: no_such_module_x:y"


@pytest.mark.parametrize("text", ["no_such_module_x:y", "no_such_module_x.sub:y"])
def test_missing_module_is_named(text, module, tmp_path):
    problem = refused(text, tmp_path)
    assert problem.message == "no module named 'no_such_module_x'"
    assert problem.hint == f"searched in {tmp_path} and among the installed packages"


def test_missing_name_gets_a_suggestion(module, tmp_path):
    name = module("pipeline = 1")
    problem = refused(f"{name}:pipelin", tmp_path)
    assert problem.message == f"module {name!r} has no attribute 'pipelin'"
    assert problem.hint == "did you mean 'pipeline'?"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module_y", "ModuleNotFoundError: No module named 'no_such_module_y'"),
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("raise BaseException", "BaseException"),
        ("None.pipeline", "AttributeError: 'NoneType' object has no attribute 'pipeline'"),
        ("class E(Exception):\n    def __str__(s): raise s\nraise E", "E: <its str() raised E>"),
    ],
)
def test_failing_module_is_named_with_its_line(source, message, module, tmp_path):
    name = module(source)
    problem = refused(f"{name}:pipeline", tmp_path)
    assert problem.message == f"cannot import {name}:pipeline: {message}"
    line = source.count("\n") + 1
    assert problem.hint == f"look at {tmp_path / name}.py:{line}"


def test_syntax_error_is_named_with_its_line(module, tmp_path):
    name = module("x = 1\nx = = 'canary'\n")
    problem = refused(f"{name}:x", tmp_path)
    assert "SyntaxError: invalid syntax" in problem.message
    assert problem.hint == f"look at {tmp_path / name}.py:2"
    assert "canary" not in str(problem)


def test_syntax_error_without_a_file_has_no_line(module, tmp_path):
    name = module("raise SyntaxError('made up')")
    assert refused(f"{name}:x", tmp_path).hint == f"look at {tmp_path / name}.py:1"


def test_line_of_the_user_is_preferred_to_a_packages(module, tmp_path):
    name = module("x = 1\nimport json\njson.loads('{')\n")
    assert refused(f"{name}:x", tmp_path).hint == f"look at {tmp_path / name}.py:3"


def test_failing_package_is_named(module, tmp_path):
    name = module("raise OSError")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sys.path.insert(0, str(tmp_path))
    assert refused(f"{name}:x", elsewhere).hint == f"look at {tmp_path / name}.py:1"


def test_missing_attribute_has_no_line(module, tmp_path):
    name = module("class A: pass")
    problem = refused(f"{name}:A.b", tmp_path)
    assert problem.message == (
        f"cannot import {name}:A.b: AttributeError: type object 'A' has no attribute 'b'"
    )
    assert problem.hint == ""


def test_raising_attribute_is_contained(module, tmp_path):
    name = module("def __getattr__(name): raise SystemExit('no')")
    assert "SystemExit: no" in refused(f"{name}:pipeline", tmp_path).message


def test_validation_error_passes_through(module, tmp_path):
    name = module("from flowstone_core import Pipeline\nPipeline('no name')\n")
    with pytest.raises(ValidationError) as caught:
        load_reference(f"{name}:pipeline", tmp_path, "f.cfg:3")
    (problem,) = caught.value.problems
    assert problem.where == f"{tmp_path / name}.py:2"


def test_interrupt_passes_through(module, tmp_path):
    name = module("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_reference(f"{name}:pipeline", tmp_path)
