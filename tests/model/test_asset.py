import logging
from datetime import UTC, datetime, timedelta
from threading import Event as Flag

import pytest

from flowstone_core.errors import NotFoundError, ValidationError
from flowstone_core.model.asset import NAME, Asset, AssetGraph, Context
from flowstone_core.model.event import StoredEvent


def make(context):
    """Makes it.

    And more.
    """


def asset(name, *depends_on, follow=False, where=""):
    return Asset(name, make, depends_on, follow, where=where)


def stored(number, payload):
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    return StoredEvent(number, "sensor:feed", f"k{number}", "raw", "p", moment, payload)


def test_context_has_partition_run_id_and_attempt():
    context = Context("raw", "p", "run-1")
    assert (context.attempt, context.events, context.payloads) == (1, (), ())
    assert context.upstream == {}
    assert context.logger is logging.getLogger("flowstone.asset")


def test_context_payloads_skip_events_without_one():
    events = (stored(1, {"key": "a"}), stored(2, None), stored(3, {}))
    assert Context("raw", "p", "run-1", events=events).payloads == ({"key": "a"}, {})


def test_context_cancelled_is_visible():
    flag = Flag()
    context = Context("raw", "p", "run-1", _cancelled=flag)
    assert not context.cancelled
    flag.set()
    assert context.cancelled


def test_context_secret_is_read_and_learned(monkeypatch):
    monkeypatch.setenv("SHOP_KEY", "hunter2")
    learned = []
    context = Context("raw", "p", "run-1", _learn=learned.append)
    assert context.secret("SHOP_KEY") == "hunter2"
    assert learned == ["hunter2"]


@pytest.mark.parametrize("value", [None, ""])
def test_context_secret_that_is_not_set_is_an_error(monkeypatch, value):
    monkeypatch.setenv("SHOP_KEY", value or "")
    if value is None:
        monkeypatch.delenv("SHOP_KEY")
    with pytest.raises(NotFoundError, match="environment variable SHOP_KEY is not set"):
        Context("raw", "p", "run-1").secret("SHOP_KEY")


def test_asset_description_is_first_docstring_line():
    assert asset("raw").description == "Makes it."
    assert Asset("raw", lambda context: None).description == ""


def test_asset_has_five_attempts_by_default():
    plain = Asset("raw", make)
    assert (plain.max_attempts, plain.follow, plain.depends_on) == (5, False, ())
    assert (plain.backoff, plain.backoff_limit) == (timedelta(seconds=5), timedelta(minutes=30))


@pytest.mark.parametrize("name", ["a", "A-1.b_c", "0", "_x", "x" * 200])
def test_a_name(name):
    assert NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "a b", "a/b", "a:b", "ü", "\u0665", "a\n", "x" * 201, "${a}", "a%"]
)
def test_no_name(name):
    assert not NAME.fullmatch(name)


class TestAssetGraph:
    def test_graph_is_a_mapping_in_declaration_order(self):
        one, two = asset("b"), asset("a", "b")
        graph = AssetGraph([one, two])
        assert list(graph) == ["b", "a"]
        assert len(graph) == 2
        assert graph["a"] is two
        assert "c" not in graph
        assert len(AssetGraph()) == 0

    def test_graph_knows_dependents_and_followers(self):
        graph = AssetGraph(
            [asset("a"), asset("b", "a", follow=True), asset("c", "a", "b"), asset("d")]
        )
        assert graph.dependents("a") == ("b", "c")
        assert graph.dependents("b") == ("c",)
        assert graph.followers("a") == ("b",)
        assert graph.followers("b") == graph.followers("d") == graph.followers("?") == ()
        assert graph.dependents("d") == graph.dependents("?") == ()

    def test_graph_lists_all_problems(self):
        with pytest.raises(ValidationError) as caught:
            AssetGraph(
                [
                    asset("a", "a", where="p.py:1"),
                    asset("b", "later", "a", where="p.py:2"),
                    asset("later", where="p.py:3"),
                    asset("a", where="p.py:4"),
                ]
            )
        assert str(caught.value).splitlines() == [
            "p.py:1: asset 'a' depends_on: unknown asset 'a' (declare it first)",
            "p.py:2: asset 'b' depends_on: unknown asset 'later' (declare it first)",
            "p.py:4: duplicate asset 'a' (first declared at p.py:1)",
        ]

    def test_duplicate_asset_without_place_has_no_hint(self):
        with pytest.raises(ValidationError) as caught:
            AssetGraph([asset("a"), asset("a")])
        assert str(caught.value) == "duplicate asset 'a'"
