"""Fixtures that validate a text as ``flowstone.cfg``."""

import importlib
import os
import sys
from itertools import count
from textwrap import dedent

import pytest

from flowstone_core.config.file.reader import load
from flowstone_core.config.validation import validate
from flowstone_core.errors import ValidationError
from tests.config.bucket_plugin import plugins_of

NUMBERS = count()


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Validate a text as if it stood in ``flowstone.cfg``."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "sub").mkdir()

    def check(text, *pipelines, environ=None, reports=(), **overrides):
        path = tmp_path / "flowstone.cfg"
        path.write_text(dedent(text))
        config = load(path, environ or {})
        importlib.invalidate_caches()
        return validate(
            config, pipelines=pipelines, overrides=overrides, plugins=plugins_of(*reports)
        )

    return check


@pytest.fixture
def problems(check, tmp_path):
    """Return the problems of an invalid text."""

    def problems(text, *pipelines, **options):
        with pytest.raises(ValidationError) as caught:
            check(text, *pipelines, **options)
        return [str(p).replace(f"{tmp_path}{os.sep}", "") for p in caught.value.problems]

    return problems


@pytest.fixture
def module(tmp_path):
    def module(source):
        name = f"validation_test_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(dedent(source))
        return name

    return module
