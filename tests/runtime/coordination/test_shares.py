"""Shares: quotas among runners that are able to tick the same, or not."""

from dataclasses import replace

import pytest

from flowstone_core.app.runner_view import dump_loaded
from flowstone_core.runtime.coordination.shares import Shares
from flowstone_core.runtime.coordination.tickable import Tickable
from flowstone_core.store import Peer

MINE = Tickable.of(["a", "b", "c"], ["nightly"], ["orders"])
ME = Peer("me", "host", 1, "machine", MINE.digest, ticks=True, gone=None)
SENSORS = dict.fromkeys(["a", "b", "c"])


class Loaded:
    """What the other runners have loaded; counts how often it is read."""

    def __init__(self, **loaded):
        self.loaded, self.reads = loaded, 0
        self.runners = self

    def loaded_by(self, ids):
        self.reads += 1
        return {each: self.loaded[each] for each in ids if each in self.loaded}


def peer(name, tickable=MINE, **other):
    digest = None if tickable is None else tickable.digest
    return replace(ME, id=name, workload=digest, **other)


def dumped(tickable):
    return f'{{"tickable": {tickable.dump()}}}'.replace("'", '"')


def shares(*peers, **loaded):
    found = Shares(Loaded(**loaded), "me")
    found.update([ME, *peers])
    return found


@pytest.mark.parametrize(
    ("others", "quota"),
    [
        ([], 3),
        ([peer("b")], 2),
        ([peer("b"), peer("c")], 1),
        ([peer("b", ticks=False)], 3),
        ([peer("b", gone="its lease has ended")], 3),
        ([peer("b", None)], 2),
    ],
    ids=["alone", "two", "three", "no ticker", "dead", "older version"],
)
def test_quota_is_an_even_share_of_living_tickers(others, quota):
    assert shares(*others).quota("sensor", SENSORS) == quota


def test_names_of_a_runner_that_is_gone_are_forgotten():
    other = Tickable.of(["c", "d"], [], [])
    loaded = Loaded(b=dumped(other))
    found = Shares(loaded, "me")
    for present, reads in [(True, 1), (False, 1), (True, 2)]:
        found.update([ME, peer("b", other)] if present else [ME])
        assert loaded.reads == reads


def test_runner_that_is_not_there_itself_shares_with_the_others():
    found = Shares(Loaded(), "me")
    assert found.quota("sensor", SENSORS) == 3
    found.update([])
    assert found.quota("sensor", SENSORS) == 3
    found.update([peer("b"), peer("c")])
    assert found.quota("sensor", SENSORS) == 2


def test_quota_counts_each_by_the_runners_able_to_tick_it():
    other = Tickable.of(["c", "d"], [], ["orders"])
    found = shares(peer("b", other), b=dumped(other))
    assert [found.candidates("sensor", name, None) for name in "abc"] == [1, 1, 2]
    assert found.quota("sensor", SENSORS) == 3  # 1 + 1 + 1/2
    assert found.quota("sensor", {"a": None, "c": None}) == 2
    assert found.candidates("schedule", "nightly", None) == 1
    assert found.candidates("schedule", "added", "orders") == 2


def test_thirds_add_up_to_a_whole():
    other = Tickable.of(["a", "b", "c"], [], [])
    found = shares(peer("b", other), peer("c", other), b=dumped(other), c=dumped(other))
    assert found.quota("sensor", SENSORS) == 1


def test_others_are_read_once_for_each_workload():
    other = Tickable.of(["c"], [], [])
    store = Loaded(b=dumped(other), c=dumped(other))
    found = Shares(store, "me")
    for peers in ([peer("b", other)], [peer("b", other)], [peer("b", other), peer("c", other)]):
        found.update([ME, *peers])
    assert store.reads == 1
    assert found.candidates("sensor", "c", None) == 3


@pytest.mark.parametrize("loaded", [None, "", "[]", "{}", '{"tickable": 1}', '{"tickable": {}}'])
def test_runner_with_unreadable_settings_is_taken_for_the_same(loaded):
    other = Tickable.of(["z"], [], [])
    found = shares(peer("b", other), **({} if loaded is None else {"b": loaded}))
    assert found.quota("sensor", SENSORS) == 2


def test_changed_is_true_once_for_each_change_of_the_runners():
    found = shares()
    assert found.changed
    for peers, changed in (([], False), ([peer("b")], True), ([peer("b")], False), ([], True)):
        found.update([ME, *peers])
        assert found.changed is changed


def test_settings_of_a_project_have_all_that_it_is_able_to_tick(house):
    from flowstone_core.app.runner_view import tickable_of
    from flowstone_core.config.file.reader import Config
    from flowstone_core.config.validation import validate
    from tests.runtime.runner_house import probe

    house.sensor("feed", probe())
    house.sensor("off", probe(), enabled=False)
    house.pipeline.schedule("orders", every="1 hour", name="hourly")
    project = validate(Config(), pipelines=[house.pipeline])
    found = Shares(Loaded(b=dump_loaded(project)), "me")
    found.update([ME, peer("b", tickable_of(project))])
    assert tickable_of(project) == Tickable.of(["feed"], ["hourly"], ["orders"])
    assert found.candidates("sensor", "feed", None) == 2
    assert found.candidates("sensor", "off", None) == 1
    assert found.candidates("schedule", "hourly", None) == 2
