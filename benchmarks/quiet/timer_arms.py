"""Timer arms: schedulers in memory, and a bare heap loop."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from benchmarks.framework.benchmark import Arm, Case, Sample
from benchmarks.quiet.lateness import late, phases, wait


def scheduler_peers(
    apscheduler: Callable[[Case], Sample], schedule_package: Callable[[Case], Sample]
) -> tuple[Arm, Arm]:
    """Return the schedulers in memory as peers, each with the function that measures it."""
    return (
        Arm("apscheduler", "APScheduler 3, in memory", apscheduler, "peer", ("apscheduler",)),
        Arm("schedule", "schedule", schedule_package, "peer", ("schedule",)),
    )


def heap_loop(case: Case) -> Sample:
    """Measure one thread that waits for the next due time and calls a function."""
    heap, every, alarm = phases(case), case.number("every"), threading.Event()
    heapq.heapify(heap)

    def run() -> None:
        while not alarm.is_set():
            now = time.monotonic()
            while heap[0] <= now:
                due = heap[0]
                heapq.heapreplace(heap, due + every)
                late.append(time.monotonic() - due)
            alarm.wait(max(0.0, heap[0] - time.monotonic()))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(0.5)
    sample = wait(case.number("seconds"))
    alarm.set()
    thread.join()
    return sample


def apscheduler(case: Case) -> Sample:
    """Measure APScheduler 3 with its store in memory and its pool of ten threads."""
    from apscheduler.schedulers.background import BackgroundScheduler

    every = case.number("every")
    scheduler = BackgroundScheduler(
        timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True}
    )
    begin = time.monotonic() + case.number("add")
    start = datetime.now(UTC) + timedelta(seconds=begin - time.monotonic())

    def call(first: float) -> None:
        late.append((time.monotonic() - first) % every)

    for due in phases(case):
        offset = due % every
        scheduler.add_job(
            call,
            "interval",
            seconds=every,
            next_run_time=start + timedelta(seconds=offset),
            args=(begin + offset,),
        )
    scheduler.start()
    time.sleep(max(0.0, begin + every + 0.5 - time.monotonic()))
    sample = wait(case.number("seconds"))
    scheduler.shutdown(wait=False)
    return sample


def schedule_package(case: Case) -> Sample:
    """Measure the schedule package, asked once a millisecond; it runs jobs in its own thread."""
    import schedule

    scheduler, stop, start = schedule.Scheduler(), threading.Event(), datetime.now()  # noqa: DTZ005 - its times are naive
    every = max(1, int(case.number("every")))  # it counts in whole seconds

    def call(job: list[schedule.Job]) -> None:
        due = job[0].next_run
        late.append((datetime.now() - due).total_seconds() if due else 0.0)  # noqa: DTZ005

    for number in range(case["sensors"]):
        itself: list[schedule.Job] = []
        job = scheduler.every(every).seconds.do(call, itself)
        itself.append(job)
        job.next_run = start + timedelta(
            seconds=case.number("add") + every * number / case["sensors"]
        )

    def run() -> None:
        while not stop.is_set():
            scheduler.run_pending()
            time.sleep(0.001)

    thread = threading.Thread(target=run, daemon=True)
    time.sleep(max(0.0, (start - datetime.now()).total_seconds() + case.number("add")))  # noqa: DTZ005
    thread.start()
    time.sleep(every + 0.5)
    sample = wait(case.number("seconds"))
    stop.set()
    thread.join()
    return sample
