"""Schedules in a runner against a real store: what fires, what is skipped, and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache, cached_property

import pytest

from flowstone_core.app.schedules import Schedules
from flowstone_core.config.file.reader import Config
from flowstone_core.config.pipeline import Pipeline
from flowstone_core.config.project import Project
from flowstone_core.config.validation import validate
from flowstone_core.errors import StoreError, StoreUnavailableError
from flowstone_core.model.attempt_result import AttemptResult
from flowstone_core.model.materialization import AttemptOutcome, MaterializationState
from flowstone_core.model.partition import decode_partition
from flowstone_core.model.redaction import Redactor
from flowstone_core.model.tick import SkipReason, TickOutcome
from flowstone_core.plugin.discovery import discover
from flowstone_core.plugin.hook_dispatcher import HookDispatcher
from flowstone_core.plugin.registry import Plugins
from flowstone_core.runtime.coordination.heartbeat import Heartbeat
from flowstone_core.runtime.coordination.workload import Workload
from flowstone_core.runtime.publisher import Publisher
from flowstone_core.runtime.runner import STORE_RETRY_SECONDS, Runner
from flowstone_core.scheduling.trigger import Trigger

PATIENCE = timedelta(seconds=300)
START = datetime(2026, 1, 15, 12, 30, tzinfo=UTC)
HOURLY = "0 * * * *"


@cache
def plugins() -> Plugins:
    return discover(allow=[])


@dataclass
class Desk:
    """One store, one clock, and runners that are stepped by hand."""

    store: object
    clock: object
    pipeline: Pipeline = field(default_factory=lambda: Pipeline("test"))
    dispatcher: list[HookDispatcher] = field(default_factory=list)

    def __post_init__(self):
        self.pipeline.asset(name="report")(lambda context: None)
        self.clock.set_now(START)

    def schedule(self, asset="report", **options):
        given = {"cron": HOURLY, "partition": "${instant}", **options}
        wanted = {key: value for key, value in given.items() if value is not None}
        self.pipeline.schedule(asset, **wanted)

    @cached_property
    def project(self) -> Project:
        return validate(Config(), pipelines=[self.pipeline], plugins=plugins())

    @property
    def schedules(self) -> Schedules:
        return Schedules(lambda: self.store, self.project, self.clock)

    def runner(self, store=None) -> Runner:
        heartbeat = Heartbeat(self.store, self.clock, timedelta(days=4_000))
        self.store.runners.register(heartbeat.runner)
        dispatcher = HookDispatcher(plugins())
        self.dispatcher.append(dispatcher)
        schedules = self.schedules
        factory = schedules.factory
        runner = Runner(
            replace(heartbeat.session, store=store or self.store),
            Workload(self.project.assets, {}, factory.declared, build_schedule=factory.make),
            publisher=Publisher(dispatcher),
            redact=Redactor(),
            wake_engine=lambda: None,
            poll_threads=2,
        )
        runner.schedules = schedules
        runner.heartbeat = heartbeat
        return runner

    def opened(self) -> Runner:
        runner = self.runner()
        runner.open()
        self.look(runner)
        return runner

    def look(self, runner):
        """Let the runner see what there is to see now, once."""
        runner.reconcile()
        while True:
            runner.step()
            assert runner.settle(PATIENCE)
            if runner.step() != 0.0:
                break
        assert runner.settle(PATIENCE)

    def until(self, runner, moment, step=timedelta(minutes=5)):
        """Let time pass, the runner looking as often as a real one would have to."""
        while self.clock.now() < moment:
            self.clock.advance(min(step, moment - self.clock.now()))
            self.look(runner)

    def sleep_until(self, moment):
        """Have the machine sleep: the wall clock goes on, the monotonic one does not."""
        self.clock.set_now(moment)

    def events(self):
        return list(reversed(self.store.events.all(limit=100_000)))

    def fired(self):
        return [instant_of(event) for event in self.events()]

    def skipped(self):
        """Every skipped range: its reason, its first and last instants, and how many."""
        found = [stored.skip for stored in reversed(self.store.skips.all(limit=1_000))]
        return [(skip.reason, hour(skip.first), hour(skip.last), skip.count) for skip in found]

    def waiting(self):
        rows = self.store.materializations.all(limit=1_000)
        return [row.id for row in reversed(rows) if row.waiting_for is not None]

    def finish(self, state=MaterializationState.COMPLETED):
        """Start and end what may start; return how many did."""
        failed = state is MaterializationState.DISCARDED
        outcome = AttemptOutcome.FAILED if failed else AttemptOutcome.COMPLETED
        assets = self.project.assets
        now = self.clock.now()
        claims = self.store.queue.claim("ticker", 1_000, assets, now).claims
        for claim in claims:
            end = AttemptResult(outcome, state)
            self.store.queue.finish(claim, end, assets, now)
        return len(claims)


def instant_of(event):
    return datetime.fromisoformat(event.key)


def hour(moment):
    return f"{moment:%H:%M}"


@pytest.fixture
def desk(store, fake_clock) -> Iterator[Desk]:
    desk = Desk(store, fake_clock)
    yield desk
    for dispatcher in desk.dispatcher:
        dispatcher.close(timeout=5)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-01-15T{text}:00Z")


# -- the decision table ----------------------------------------------------------------------------
#
# An hourly schedule fired on time for 13:00, and what it asked for has ended or not. Then the
# machine sleeps until a moment, at which it may be resumed, be edited, or see its clock corrected.

SOON, LATE, SHARP = "13:30", "16:30", "16:00"
"""Nothing was missed; 14:00 to 16:00 were; 14:00 and 15:00 were, and 16:00 is on time."""

ALL = ("none", "latest", "all")
EVERY = ("skip", "buffer_one", "buffer_all", "allow")

CATCHUP, OVERLAP = SkipReason.CATCHUP, SkipReason.OVERLAP


@dataclass(frozen=True)
class Row:
    """What is expected.

    Attributes:
        fires: The instants fired for.
        skips: The ranges skipped.
        in_line: How many of those fired for have to wait for one another, or for the one before.
    """

    fires: tuple[str, ...] = ()
    skips: tuple[tuple[SkipReason, str, str, int], ...] = ()
    in_line: int = 0


def table():
    """Every row: policy, overlap, when it wakes, whether the last one runs, what happens then."""
    for catchup in ALL:
        for overlap in EVERY:
            for runs in (False, True):
                yield from undisturbed(catchup, overlap, runs)
                yield from disturbed(catchup, overlap, runs)


def undisturbed(catchup, overlap, runs):
    line = 0 if overlap == "allow" else 1
    behind = line if runs else 0
    case = (catchup, overlap, runs)

    yield (*case, SOON, "nothing"), Row()

    if catchup == "none":
        yield (*case, LATE, "nothing"), Row((), ((CATCHUP, "14:00", "16:00", 3),))
    elif catchup == "latest":
        skips = ((CATCHUP, "14:00", "15:00", 2),)
        yield (*case, LATE, "nothing"), Row(("16:00",), skips, behind)
    else:
        fires = ("14:00", "15:00", "16:00")
        yield (*case, LATE, "nothing"), Row(fires, (), 2 * line + behind)
        yield (*case, SHARP, "nothing"), Row(fires, (), 2 * line + behind)

    if catchup != "all":
        skips = ((CATCHUP, "14:00", "15:00", 2),)
        if runs and overlap == "skip":
            late = (*skips, (OVERLAP, "16:00", "16:00", 1))
            yield (*case, SHARP, "nothing"), Row((), late)
        else:
            yield (*case, SHARP, "nothing"), Row(("16:00",), skips, behind)


def disturbed(catchup, overlap, runs):
    case = (catchup, overlap, runs)
    for happening, reason in (
        ("paused", SkipReason.PAUSED),
        ("edited", SkipReason.EDITED),
        ("disabled", SkipReason.DISABLED),
    ):
        yield (*case, SOON, happening), Row()
        yield (*case, LATE, happening), Row((), ((reason, "14:00", "16:00", 3),))
        yield (*case, SHARP, happening), Row((), ((reason, "14:00", "16:00", 3),))
    # The clock goes back behind 13:00, which was fired for: it is not fired for again.
    yield (*case, "12:10", "nothing"), Row()


ROWS = list(table())


@pytest.mark.parametrize("backend", ["sqlite"])
@pytest.mark.parametrize(
    ("case", "expected"), ROWS, ids=["-".join(map(str, case)) for case, _ in ROWS]
)
def test_T5_T9_the_decision_table(desk, case, expected):
    catchup, overlap, runs, wakes, happening = case
    desk.schedule(catchup=catchup, overlap=overlap)
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    assert desk.fired() == [at("13:00")]
    if not runs:
        assert desk.finish() == 1
    schedules = runner.schedules
    if happening == "paused":
        schedules.pause("report")
    if happening == "disabled":
        schedules.update("report", enabled=False)
    desk.look(runner)
    desk.sleep_until(at(wakes))
    if happening == "paused":
        schedules.resume("report")
    if happening == "disabled":
        schedules.update("report", enabled=True)
    if happening == "edited":
        schedules.update("report", cron="45 * * * *")
    desk.look(runner)
    fired = [hour(instant) for instant in desk.fired()[1:]]
    assert (tuple(fired), tuple(desk.skipped())) == (expected.fires, expected.skips)
    assert len(desk.waiting()) == expected.in_line
    # It goes on as if nothing had been: with each instant to come, once.
    while desk.clock.now() < at("17:45"):
        while desk.finish():
            pass
        desk.clock.advance(timedelta(minutes=15 - desk.clock.now().minute % 15))
        desk.look(runner)
    to_come = ["16:45", "17:45"] if happening == "edited" else ["17:00"]
    later = [hour(instant) for instant in desk.fired() if instant > at("16:00")]
    assert later == to_come
    assert len(desk.fired()) == len(set(desk.fired()))


def test_the_table_is_whole():
    cases = {case for case, _ in ROWS}
    assert len(cases) == len(ROWS) == 3 * 4 * 2 * (3 + 3 * 3 + 1)


# -- the day by day --------------------------------------------------------------------------------


def test_the_default_partition_is_the_date_in_the_schedules_zone(desk):
    desk.schedule(cron="30 21 * * *", timezone="America/New_York", partition=None, overlap="allow")
    runner = desk.opened()
    desk.until(runner, datetime(2026, 1, 17, 3, tzinfo=UTC), step=timedelta(minutes=30))
    assert [decode_partition(event.partition) for event in desk.events()] == [
        date(2026, 1, 15),
        date(2026, 1, 16),
    ]
    assert [event.key for event in desk.events()] == [
        "2026-01-16T02:30:00Z",
        "2026-01-17T02:30:00Z",
    ]


def test_the_asset_function_sees_its_instant(desk):
    desk.schedule()
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    (event,) = desk.events()
    assert event.payload == {
        "schedule": "report",
        "instant": "2026-01-15T13:00:00Z",
        "timezone": "UTC",
    }
    assert (event.source, event.asset) == ("schedule:report", "report")


def test_partition_fn_gets_the_instant_in_the_schedules_zone_or_nothing(desk):
    seen = []
    desk.schedule(
        timezone="Asia/Kolkata",
        partition=None,
        partition_fn=lambda instant: seen.append(instant) or ("in", instant.date()),
    )
    desk.schedule(name="plain", partition=None, partition_fn=lambda: "now")
    runner = desk.opened()
    desk.until(runner, at("13:30"), step=timedelta(minutes=30))
    found = {event.source: decode_partition(event.partition) for event in desk.events()}
    assert found == {"schedule:report": ("in", date(2026, 1, 15)), "schedule:plain": "now"}
    assert [instant.isoformat() for instant in seen] == ["2026-01-15T19:00:00+05:30"]


def test_a_quiet_look_writes_nothing(desk):
    desk.schedule(cron="0 0 * * *")
    runner = desk.opened()
    before = desk.store.schedules.get("report")
    desk.until(runner, at("20:00"))
    assert desk.store.schedules.get("report") == before
    assert desk.store.ticks.all() == []


def test_T4_T5_a_machine_that_slept_over_29_february_makes_its_partition(desk):
    desk.clock.set_now(datetime(2028, 2, 28, 12, tzinfo=UTC))
    desk.schedule(cron="0 2 29 2 *", partition=None)
    runner = desk.opened()
    desk.sleep_until(datetime(2028, 3, 1, 1, tzinfo=UTC))
    desk.look(runner)
    assert [decode_partition(event.partition) for event in desk.events()] == [date(2028, 2, 29)]


def test_T5_what_is_older_than_the_window_is_skipped_and_counted(desk):
    desk.schedule(catchup="all", catchup_window="2h", overlap="allow")
    runner = desk.opened()
    desk.sleep_until(at("18:30"))
    desk.look(runner)
    assert desk.skipped() == [(SkipReason.WINDOW, "13:00", "16:00", 4)]
    assert desk.fired() == [at("17:00"), at("18:00")]


def test_an_instant_at_the_edge_of_the_window_is_within_it(desk):
    desk.schedule(catchup="all", catchup_window="2h", overlap="allow")
    runner = desk.opened()
    desk.sleep_until(at("18:00"))
    desk.look(runner)
    assert desk.fired() == [at("16:00"), at("17:00"), at("18:00")]


@pytest.mark.parametrize(("late", "fires"), [(60, 1), (61, 0)])
def test_an_instant_that_is_at_most_a_minute_late_is_on_time(desk, late, fires):
    desk.schedule(catchup="none")
    runner = desk.opened()
    desk.sleep_until(at("13:00") + timedelta(seconds=late))
    desk.look(runner)
    assert len(desk.fired()) == fires
    assert len(desk.skipped()) == 1 - fires


@pytest.mark.parametrize(("catchup", "fires"), [("none", 1), ("latest", 1), ("all", 1_440)])
def test_T2_a_clock_ten_years_ahead_neither_fires_for_all_of_them_nor_stops_the_schedule(
    desk, catchup, fires
):
    desk.schedule(cron="* * * * *", catchup=catchup, overlap="allow")
    runner = desk.opened()
    desk.sleep_until(datetime(2036, 1, 15, 12, 31, 30, tzinfo=UTC))
    desk.look(runner)
    assert len(desk.fired()) == fires
    (window,) = (
        each.skip for each in desk.store.skips.all() if each.skip.reason is SkipReason.WINDOW
    )
    assert (window.count, window.complete) == (1_000, False)
    # Corrected, it goes on at once, not in ten years.
    before = len(desk.fired())
    desk.sleep_until(at("12:31") + timedelta(seconds=10))
    desk.look(runner)
    desk.until(runner, at("12:33"), step=timedelta(seconds=50))
    assert desk.fired()[before:] == [at("12:32"), at("12:33")]


def test_T1_a_clock_set_back_a_little_is_waited_for(desk):
    desk.schedule(cron="* * * * *", overlap="allow")
    runner = desk.opened()
    desk.until(runner, at("12:32"), step=timedelta(minutes=1))
    version = desk.store.schedules.get("report").checkpoint.version
    desk.sleep_until(at("12:31") + timedelta(seconds=30))
    desk.look(runner)
    assert desk.store.schedules.get("report").checkpoint.version == version
    desk.until(runner, at("12:33"), step=timedelta(seconds=30))
    assert desk.fired() == [at("12:31"), at("12:32"), at("12:33")]


@pytest.mark.parametrize(
    ("back", "earlier", "again"), [(timedelta(hours=1), 0, 2), (timedelta(days=1), 45, 3)]
)
def test_T1_a_clock_set_back_fires_nothing_twice(desk, back, earlier, again):
    desk.schedule(cron="*/30 * * * *", overlap="allow")
    runner = desk.opened()
    desk.until(runner, at("14:00"), step=timedelta(minutes=30))
    first = desk.fired()
    desk.sleep_until(at("14:00") - back)
    desk.look(runner)
    desk.until(runner, at("14:30"), step=timedelta(minutes=30))
    fired = desk.fired()
    assert sum(tick.duplicates for tick in desk.store.ticks.all(limit=1_000)) == again
    assert len(set(fired)) == len(fired) == earlier + len(first) + 1
    assert fired[-1] == at("14:30")


def test_more_than_a_transaction_holds_is_caught_up_in_several(desk):
    desk.schedule(cron="* * * * *", catchup="all", overlap="allow")
    runner = desk.opened()
    desk.sleep_until(at("12:30") + timedelta(minutes=1_100, seconds=30))
    desk.look(runner)
    ticks = list(reversed(desk.store.ticks.all()))
    assert [tick.events for tick in ticks] == [1_000, 100]
    assert len(set(desk.fired())) == 1_100


def test_a_schedule_that_ended_is_looked_at_no_more(desk):
    desk.schedule(cron="* * * * *", start="2026-01-15T12:40", end="2026-01-15T12:42")
    runner = desk.opened()
    desk.until(runner, at("12:50"), step=timedelta(minutes=1))
    assert desk.fired() == [at("12:40")]
    assert desk.skipped() == [
        (SkipReason.OVERLAP, "12:41", "12:41", 1),
        (SkipReason.OVERLAP, "12:42", "12:42", 1),
    ]
    assert desk.schedules.get("report").health == "ended"


def test_jitter_delays_the_firing_and_leaves_the_partition(desk):
    desk.schedule(cron="0 * * * *", jitter="30m", partition=None, overlap="allow")
    runner = desk.opened()
    schedule = desk.schedules.factory.make(desk.store.schedules.get("report"))
    due = schedule.due_at(at("13:00"))
    assert at("13:00") < due < at("13:30")
    desk.until(runner, due - timedelta(seconds=1), step=timedelta(minutes=1))
    assert desk.fired() == []
    desk.until(runner, due + timedelta(seconds=1), step=timedelta(seconds=1))
    assert desk.fired() == [at("13:00")]


# -- while it runs ---------------------------------------------------------------------------------


def test_a_schedule_added_by_command_fires_in_a_runner_that_runs(desk):
    runner = desk.opened()
    desk.schedules.add("report", name="quick", cron="* * * * *")
    desk.until(runner, at("12:31"), step=timedelta(minutes=1))
    assert desk.fired() == [at("12:31")]
    desk.schedules.remove("quick")
    desk.until(runner, at("12:33"), step=timedelta(minutes=1))
    assert desk.fired() == [at("12:31")]


def test_one_for_an_asset_that_the_runner_has_not_is_left_to_others(desk, store):
    runner = desk.opened()
    given = {"asset": "elsewhere", "trigger": "cron", "text": "* * * * *"}
    store.schedules.create("theirs", given, desk.clock.now())
    desk.until(runner, at("12:33"), step=timedelta(minutes=1))
    assert desk.fired() == []
    assert store.schedules.get("theirs").owner is None


def test_an_edit_while_a_tick_is_under_way_has_the_tick_refused(desk):
    edited = threading.Event()

    def name():
        if not edited.is_set():
            edited.set()
            desk.schedules.update("report", catchup="all")
        return "p"

    desk.schedule(partition=None, partition_fn=name)
    runner = desk.opened()
    desk.sleep_until(at("13:00"))
    runner.step()
    assert runner.settle(PATIENCE)
    assert edited.is_set()
    assert desk.store.ticks.all() == []
    desk.look(runner)
    assert desk.fired() == [at("13:00")]


def test_pausing_takes_effect_though_the_instant_is_there_before_the_runner_looks(desk):
    desk.schedule()
    runner = desk.opened()
    desk.schedules.pause("report")
    desk.sleep_until(at("13:00"))
    runner.step()
    assert runner.settle(PATIENCE)
    assert desk.fired() == []
    assert desk.schedules.get("report").health == "paused"


def test_a_partition_fn_that_fails_loses_nothing(desk):
    broken = [True]

    def name(instant: datetime) -> str:
        if broken[0]:
            raise OSError("no connection")
        return f"{instant:%H}"

    desk.schedule(partition=None, partition_fn=name, catchup="all", overlap="buffer_all")
    desk.schedule(name="healthy")
    runner = desk.opened()
    desk.until(runner, at("14:10"), step=timedelta(minutes=5))
    (status,) = (each for each in desk.schedules.all() if each.name == "report")
    assert (status.health, status.error) == ("failing", "OSError: no connection")
    assert status.failures >= 2
    broken[0] = False
    desk.until(runner, at("15:55"), step=timedelta(minutes=5))
    mine = [event for event in desk.events() if event.source == "schedule:report"]
    assert [event.partition for event in mine] == ["13", "14", "15"]
    assert desk.schedules.get("report").failures == 0
    # The other one went on meanwhile; it was not ended, so it was not fired for again.
    assert [event.key for event in desk.events() if event.source == "schedule:healthy"] == [
        "2026-01-15T13:00:00Z"
    ]


def test_after_ten_failures_it_is_tried_once_an_hour(desk):
    desk.schedule(partition=None, partition_fn=lambda: 1 / 0)
    runner = desk.opened()
    desk.until(runner, at("13:00") + timedelta(hours=9))
    failures = desk.schedules.get("report").failures
    assert failures >= 10
    desk.until(runner, desk.clock.now() + timedelta(hours=3))
    assert desk.schedules.get("report").failures - failures in {2, 3}


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_a_partition_fn_raises_is_a_failed_tick(desk, raised):
    def name():
        raise raised("stop")

    desk.schedule(partition=None, partition_fn=name)
    runner = desk.opened()
    desk.sleep_until(at("13:00"))
    desk.look(runner)
    (tick,) = desk.store.ticks.all()
    assert tick.outcome is TickOutcome.FAILED
    assert raised.__name__ in tick.error


class Odd(Trigger):
    """A trigger that answers what a test gives it."""

    answer: Callable[[datetime], object]

    def next_fire(self, after):
        return type(self).answer(after)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda after: after, "which is not later than"),
        (lambda after: datetime(2030, 1, 1), "the naive 2030-01-01"),  # noqa: DTZ001
        (lambda after: "soon", "a value of type str"),
        (lambda after: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_P4_a_trigger_that_breaks_its_contract_harms_its_own_schedule_only(desk, answer, says):
    odd = type("Odd", (Odd,), {"answer": staticmethod(answer)})
    desk.pipeline.schedule("report", name="odd", trigger=odd("whatever"))
    desk.schedule()
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    assert desk.fired() == [at("13:00")]
    status = desk.schedules.get("odd")
    assert status.health == "broken"
    assert says in status.error
    ticks = desk.store.ticks.all(source="schedule:odd")
    assert ticks
    assert all(tick.outcome is TickOutcome.FAILED and says in tick.error for tick in ticks)


def test_P1_a_trigger_that_hangs_harms_its_own_schedule_only(desk):
    let_go, asked = threading.Event(), threading.Event()

    def hang(after):
        asked.set()
        assert let_go.wait(PATIENCE.total_seconds())
        return after + timedelta(days=1)

    odd = type("Odd", (Odd,), {"answer": staticmethod(hang)})
    desk.pipeline.schedule("report", name="odd", trigger=odd("whatever"))
    desk.schedule(cron="* * * * *", overlap="allow")
    runner = desk.runner()
    runner.open()
    runner.step()
    assert asked.wait(PATIENCE.total_seconds())
    for count in (1, 2, 3):
        desk.clock.advance(60)
        while len(desk.fired()) < count or runner._scheduler.tickers["schedule:report"].busy:
            runner.step()
    assert desk.fired() == [at("12:31"), at("12:32"), at("12:33")]
    assert runner.settle(PATIENCE)
    (tick,) = desk.store.ticks.all(source="schedule:odd")
    assert tick.outcome is TickOutcome.TIMED_OUT
    assert "did not return within 60 s" in tick.error
    assert runner.stuck == 1
    let_go.set()


def test_pause_on_failure(desk):
    desk.schedule(pause_on_failure=True)
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    desk.finish(MaterializationState.DISCARDED)
    desk.until(runner, at("15:30"), step=timedelta(minutes=30))
    assert desk.fired() == [at("13:00")]
    status = desk.schedules.get("report")
    assert (status.health, status.paused_because) == (
        "paused",
        "materialization #1 was discarded",
    )
    desk.schedules.resume("report")
    desk.until(runner, at("16:00"), step=timedelta(minutes=30))
    assert desk.fired() == [at("13:00"), at("16:00")]
    assert desk.skipped() == [(SkipReason.PAUSED, "14:00", "15:00", 2)]


# -- from one runner to the next -------------------------------------------------------------------


def test_T5_what_was_missed_while_no_runner_was_up_is_caught_up_by_the_next(desk):
    desk.schedule(catchup="all", overlap="allow")
    runner = desk.opened()
    runner.stop(PATIENCE)
    desk.clock.advance(timedelta(hours=3))
    desk.store.runners.stop(runner._assignments["schedule"]._runner_id, desk.clock.now())
    desk.opened()
    assert desk.fired() == [at("13:00"), at("14:00"), at("15:00")]


def test_T9_a_changed_declaration_replays_nothing_and_says_what_it_passed_over(desk):
    desk.schedule(catchup="all")
    first = desk.opened()
    desk.store.runners.stop(first._assignments["schedule"]._runner_id, desk.clock.now())
    desk.clock.advance(timedelta(hours=3))
    changed = Desk(desk.store, desk.clock)
    desk.clock.set_now(at("15:30"))
    changed.schedule(cron="45 * * * *", catchup="all")
    second = changed.opened()
    desk.dispatcher += changed.dispatcher
    assert changed.fired() == []
    assert changed.skipped() == [(SkipReason.EDITED, "13:00", "15:00", 3)]
    changed.until(second, at("15:45"), step=timedelta(minutes=15))
    assert changed.fired() == [at("15:45")]


def test_two_runners_make_one_event_of_an_instant(desk):
    desk.schedule(cron="* * * * *", overlap="allow")
    one, two = desk.opened(), desk.opened()
    for _ in range(5):
        desk.clock.advance(60)
        desk.look(one)
        desk.look(two)
    assert len(desk.fired()) == len(set(desk.fired())) == 5


def test_what_a_dead_runner_owned_is_taken_over(desk):
    desk.schedule()
    dead = desk.opened()
    living = desk.opened()
    owner = dead._assignments["schedule"]._runner_id
    assert desk.store.schedules.get("report").owner == owner
    desk.store.runners.renew(owner, desk.clock.now())
    for _ in range(12):
        desk.clock.advance(1)
        desk.look(living)
    desk.until(living, at("13:00"), step=timedelta(minutes=10))
    assert desk.store.schedules.get("report").owner != owner
    assert desk.fired() == [at("13:00")]


class Flaky:
    """A store that is away for as long as a test says so."""

    def __init__(self, store):
        self._store = store
        self.away = False
        self.ticks, self.materializations = copy(store.ticks), copy(store.materializations)
        self.ticks.commit = self._unless_away(store.ticks.commit)
        self.materializations.active = self._unless_away(store.materializations.active)

    def __getattr__(self, name):
        return getattr(self._store, name)

    def _unless_away(self, method):
        def call(*arguments, **options):
            if self.away:
                raise StoreUnavailableError("the store is away")
            return method(*arguments, **options)

        return call


def test_what_could_not_be_written_is_found_again(desk):
    desk.schedule()
    flaky = Flaky(desk.store)
    runner = desk.runner(flaky)
    runner.open()
    desk.look(runner)
    flaky.away = True
    retried = at("13:00") + timedelta(seconds=STORE_RETRY_SECONDS)
    desk.until(runner, retried, step=timedelta(minutes=1))
    assert desk.fired() == []
    flaky.away = False
    runner.heartbeat.beat()
    desk.until(runner, desk.clock.now() + timedelta(seconds=40), step=timedelta(seconds=1))
    assert desk.fired() == [at("13:00")]
    assert desk.skipped() == []


def test_run_once_fires_for_what_is_due(desk):
    desk.schedule()
    runner = desk.runner()
    runner.run_once()
    assert desk.fired() == []
    desk.store.runners.stop(runner._assignments["schedule"]._runner_id, desk.clock.now())
    desk.clock.advance(timedelta(hours=1))
    again = desk.runner()
    again.run_once()
    assert desk.fired() == [at("13:00")]


# -- in line ---------------------------------------------------------------------------------------


def lined_up(desk, count):
    """A schedule that has fired so often, the first running, the others behind it in line."""
    desk.schedule(catchup="all", overlap="buffer_all")
    runner = desk.opened()
    desk.sleep_until(at("12:30") + timedelta(hours=count))
    desk.look(runner)
    assets, now = desk.project.assets, desk.clock.now()
    (claim,) = desk.store.queue.claim("ticker", 1_000, assets, now).claims
    assert desk.waiting() == list(range(2, count + 1))
    return runner, claim


def end(desk, claim, state=MaterializationState.COMPLETED):
    desk.store.queue.finish(
        claim,
        AttemptResult(AttemptOutcome.COMPLETED, state),
        desk.project.assets,
        desk.clock.now(),
    )


def started(desk):
    found = desk.store.queue.claim("ticker", 1_000, desk.project.assets, desk.clock.now())
    return [claim.materialization.id for claim in found.claims], found.claims


@pytest.mark.parametrize("state", [MaterializationState.COMPLETED, MaterializationState.DISCARDED])
def test_the_next_in_line_starts_when_the_one_before_has_ended(desk, state):
    _, claim = lined_up(desk, 4)
    for number in (2, 3, 4):
        assert started(desk)[0] == []
        end(desk, claim, state)
        numbers, (claim,) = started(desk)
        assert numbers == [number]
    end(desk, claim, state)
    assert desk.waiting() == []


def test_one_that_is_retried_has_not_ended(desk):
    _, claim = lined_up(desk, 2)
    later = desk.clock.now() + timedelta(minutes=1)
    retry = AttemptResult(
        AttemptOutcome.FAILED, MaterializationState.RETRYING, "no", retry_at=later
    )
    desk.store.queue.finish(claim, retry, desk.project.assets, desk.clock.now())
    assert started(desk)[0] == []
    desk.clock.advance(60)
    assert started(desk)[0] == [1]


def test_cancelled_in_the_middle_it_leaves_its_place_to_the_one_behind(desk):
    _, claim = lined_up(desk, 3)
    desk.store.materializations.cancel(2, desk.project.assets, desk.clock.now())
    assert started(desk)[0] == []
    assert desk.store.materializations.get(3).waiting_for == "the schedule's run before it, #1"
    end(desk, claim)
    assert started(desk)[0] == [3]


def test_cancelled_at_its_head_the_line_moves_up(desk):
    lined_up(desk, 3)
    desk.store.materializations.cancel(1, desk.project.assets, desk.clock.now())
    assert started(desk)[0] == [2]


def test_what_waits_in_line_is_not_let_go_for_other_reasons(desk):
    _, claim = lined_up(desk, 3)
    desk.store.queue.requeue_waiting(desk.project.assets, desk.clock.now())
    assert started(desk)[0] == []
    desk.store.materializations.materialize(
        desk.project.assets["report"],
        "elsewhere",
        desk.project.assets,
        desk.clock.now(),
    )
    # Asked for by hand: it is none of the schedule's own, and waits for nothing.
    assert started(desk)[0] == [4]
    end(desk, claim)
    assert started(desk)[0] == [2]


def test_what_was_asked_for_by_hand_before_is_not_put_in_line(desk):
    desk.schedule(overlap="buffer_all", partition="p")
    runner = desk.opened()
    desk.until(runner, at("13:00"), step=timedelta(minutes=30))
    (claim,) = started(desk)[1]
    by_hand = desk.store.materializations.materialize(
        desk.project.assets["report"], "p", desk.project.assets, desk.clock.now()
    )[1]
    desk.until(runner, at("14:00"), step=timedelta(minutes=30))
    (_, joined) = desk.events()[-2:]
    assert joined.materialization_id == by_hand.id
    end(desk, claim)
    assert started(desk)[0] == [by_hand.id]


def test_a_lost_run_that_has_used_its_attempts_lets_the_next_one_start(desk):
    desk.schedule(catchup="all", overlap="buffer_all", pause_on_failure=True)
    runner = desk.opened()
    desk.sleep_until(at("14:30"))
    desk.look(runner)
    for _ in range(5):
        desk.store.queue.claim("nobody", 1, desk.project.assets, desk.clock.now())
        desk.store.queue.recover(desk.clock.now())
    assert desk.store.materializations.get(1).state is MaterializationState.DISCARDED
    assert started(desk)[0] == [2]
    assert desk.schedules.get("report").paused_because == "materialization #1 was discarded"


# -- the threads -----------------------------------------------------------------------------------


class Stumbling(Flaky):
    """A store that cannot be looked at for a while, for one reason and then for another."""

    def __init__(self, store):
        super().__init__(store)
        self.looks = 0
        self.looked = threading.Event()
        self.schedules = copy(store.schedules)
        self.schedules.unowned = self._unowned

    def _unowned(self, *arguments, **named):
        self.looks += 1
        if self.looks in {2, 3}:
            raise StoreUnavailableError("away")
        if self.looks == 4:
            raise RuntimeError("a fault of ours")
        if self.looks in {9, 10}:
            raise StoreError("permission denied")
        if self.looks > 11:
            self.looked.set()
        return self._store.schedules.unowned(*arguments, **named)


def test_looks_that_fail_are_logged_once_for_an_outage_and_go_on(desk, caplog):
    stumbling = Stumbling(desk.store)
    runner = desk.runner(stumbling)
    runner.start()
    while not stumbling.looked.is_set():
        desk.clock.wait_for_sleepers(2)
        desk.clock.advance(1)
    assert runner.stop(PATIENCE)
    messages = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert messages == [
        "store unavailable; polling paused until a write succeeds",
        "periodic step failed; the next step follows",
        "cannot read sensor and schedule ownership from the store; trying again every second",
    ]


def test_a_runner_in_threads_fires_on_time(desk):
    desk.schedule(cron="* * * * *", overlap="allow")
    runner = desk.runner()
    runner.start()
    instants = [at("12:31"), at("12:32"), at("12:33")]
    for count, instant in enumerate(instants, start=1):
        desk.clock.wait_for_sleepers(2)
        desk.clock.advance(instant - desk.clock.now())
        while len(desk.fired()) < count:
            assert "flowstone-scheduler" in {thread.name for thread in threading.enumerate()}
    assert runner.stop(PATIENCE)
    assert desk.fired() == instants
    assert {tick.skipped for tick in desk.store.ticks.all()} == {0}


def test_what_cannot_be_made_any_more_is_skipped_uncounted(desk, caplog):
    given = {"asset": "report", "trigger": "gone", "text": "x"}
    desk.store.schedules.create("odd", given, desk.clock.now())
    desk.clock.advance(timedelta(hours=3))
    desk.schedules.update("odd", cron="* * * * *")
    assert desk.store.skips.all() == []
    assert "cannot count skipped instants" in caplog.text


def test_a_tick_that_the_store_refuses_is_a_failed_one(desk, monkeypatch):
    desk.schedule(overlap="allow")
    runner = desk.runner()
    runner.open()
    desk.look(runner)
    commit = runner._committer._store.ticks.commit
    refused = []

    def refuse(owner, commits, assets, now):
        if not refused or len(refused) < 2:
            refused.append(commits)
            raise ValueError("the store has its reasons")
        return commit(owner, commits, assets, now)

    monkeypatch.setattr(desk.store.ticks, "commit", refuse)
    desk.sleep_until(at("13:00"))
    desk.look(runner)
    (tick,) = desk.store.ticks.all()
    assert (tick.outcome, tick.events) == (TickOutcome.FAILED, 0)
    assert "the store has its reasons" in tick.error
    desk.until(runner, at("13:10"))
    assert desk.fired() == [at("13:00")]
