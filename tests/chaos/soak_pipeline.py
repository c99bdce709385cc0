"""Pipelines for ``soak.py``: all kinds of work at once, and schedules in many zones."""

from __future__ import annotations

from flowstone_core import NotTriggered, Pipeline, RetryLater, Triggered, function_sensor
from flowstone_core.model.clock import SystemClock

CLOCK = SystemClock()

ZONES = (
    "UTC", "America/New_York", "America/Sao_Paulo", "Europe/Berlin", "Europe/London", "Asia/Tokyo",
    "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Auckland", "Pacific/Apia",
    "Africa/Cairo",
)  # fmt: skip


@function_sensor(initial=0)
def ticking(state):
    """Find one event in each poll."""
    return Triggered(f"tick-{state}", state + 1)


@function_sensor(initial=0)
def seldom(state):
    """Find one event in every tenth poll."""
    if state % 10:
        return NotTriggered(state + 1, reason="nothing yet")
    return Triggered(f"seldom-{state}", state + 1)


@function_sensor()
def quiet(state):
    """Find nothing."""
    return NotTriggered(state)


@function_sensor()
def failing(state):
    """Fail."""
    raise OSError("the source is away")


def in_process(context):
    return {"partition": str(context.partition)}


def _assets(name: str, backoff: str) -> Pipeline:
    pipeline = Pipeline(name)

    @pipeline.asset
    def made(context):
        return {"partition": str(context.partition), "payloads": len(context.events)}

    @pipeline.asset(depends_on=["made"], follow=True)
    def followed(context):
        return {"upstream": len(context.upstream)}

    @pipeline.asset(backoff=backoff, backoff_limit=backoff, max_attempts=3)
    def retried(context):
        if context.attempt == 1:
            raise ValueError("no luck yet")

    @pipeline.asset(backoff=backoff, backoff_limit=backoff, max_attempts=2)
    def discarded(context):
        if context.attempt == 1:
            raise RetryLater(0.01)
        raise ValueError("no luck at all")

    return pipeline


def loaded_pipeline() -> Pipeline:
    """Return a pipeline that keeps a runner busy with all that there is."""
    pipeline = _assets("load", "50ms")
    pipeline.asset(run_in="process")(in_process)
    for number in range(4):
        pipeline.sensor(f"ticking-{number}", ticking, asset="made", every="250ms")
    for number in range(20):
        pipeline.sensor(f"quiet-{number}", quiet, asset="made", every="100ms")
    for asset in ("retried", "discarded", "in_process"):
        pipeline.sensor(f"of-{asset}", seldom, asset=asset, every="100ms")
    for number in range(4):
        name = f"failing-{number}"
        options = {"backoff": "50ms", "backoff_limit": "500ms", "quarantine_after": 1_000_000}
        pipeline.sensor(name, failing, asset="made", every="500ms", **options)
    pipeline.sensor("polled-in-process", seldom, asset="made", every="1s", isolation="process")
    for zone in ZONES:
        name = zone.replace("/", "-")
        pipeline.schedule(
            "made", name=name, every="1 second", timezone=zone, partition=f"{zone}-${{instant}}"
        )
    return pipeline


def quiet_pipeline() -> Pipeline:
    """Return a pipeline of schedules in many zones, and of sensors that fire each few hours."""
    pipeline = _assets("days", "10m")
    for zone in ZONES:
        name, where = zone.replace("/", "-"), {"timezone": zone}
        where["partition"] = f"{name}-${{instant}}"
        pipeline.schedule("made", name=f"nightly-{name}", cron="30 2 * * *", **where)
        pipeline.schedule("retried", name=f"hourly-{name}", cron="15 */3 * * *", **where)
    for number, asset in enumerate(("made", "retried", "discarded")):
        options = {"asset": asset, "deadline": "1d", "dedupe_for": "1d"}
        pipeline.sensor(f"seldom-{number}", seldom, every="20m", **options)
    pipeline.sensor("failing", failing, asset="made", every="1h", deadline="1d")
    return pipeline
