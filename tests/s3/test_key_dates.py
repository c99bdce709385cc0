"""Date of a key among several candidates: the strongest form counts, two of a form are refused."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from flowstone_s3 import S3FileArrival
from flowstone_s3.key_dates import choice_of_date, date_in_key, dates_in_key
from flowstone_s3.unreadable import UnreadableKeyError

from tests.s3.queue_support import Live, notice
from tests.s3.queue_support import Make as MakeQueue

Make = Callable[..., S3FileArrival]


@pytest.mark.parametrize(
    ("key", "day"),
    [
        ("E1.2024-01-02-03.20190315.gz", date(2024, 1, 2)),
        ("20190315.E1.2024-01-02-03.gz", date(2024, 1, 2)),
        ("vpc_20240102T0315Z_19991231.log.gz", date(2024, 1, 2)),
        ("19991231_vpc_20240102T031500.log.gz", date(2024, 1, 2)),
        ("2024/01/02/order-20211105.json", date(2024, 1, 2)),
        ("logs/2024/01/02/vpc_20231231T2355Z_20190315.gz", date(2024, 1, 2)),
        ("20211105/2024-01-02.json", date(2024, 1, 2)),
        ("2024-01-02/2024/01/02/20240102.csv", date(2024, 1, 2)),
        ("2024/1/2/order-20211105.json", date(2024, 1, 2)),
        ("2024_01_02/order-20211105.json", date(2024, 1, 2)),
        ("logs.2024.01.02.20211105.gz", date(2024, 1, 2)),
        ("20240102031500_19991231.log", date(2024, 1, 2)),
        ("20240102T03Z_19991231.log", date(2024, 1, 2)),
        ("2024/01/02/report_2024_01_03.csv", date(2024, 1, 2)),
        ("y=2024/m=01/d=02/2024-01-03-20211105.csv", date(2024, 1, 2)),
        ("order_year=2024/order_month=1/order_day=2/2024-01-03.csv", date(2024, 1, 2)),
    ],
)
def test_F6_key_date_stronger_form_counts(key: str, day: date) -> None:
    assert date_in_key(key) == day


@pytest.mark.parametrize(
    "key",
    [
        "year=2024/month=01/day=02/load_20240103.parquet",
        "year=2024/month=1/day=2/load_2024-01-03.parquet",
        "year=2024/month=01/day=02/2024/01/03/x",
        "lake/dt=2024-01-02/load-2024-01-03T05.csv",
        "lake/order_date=20240102/2024-01-03.csv",
        "load=2024-01-03/DT=2024-01-02/x",
    ],
)
def test_F6_X7_key_date_named_folder_beats_load_date(key: str) -> None:
    assert date_in_key(key) == date(2024, 1, 2)


@pytest.mark.parametrize(
    ("key", "texts"),
    [
        ("20240102_20240103.csv", "20240102 and 20240103"),
        ("2024-01-02/orders-2024-01-03.csv", "2024-01-02 and 2024-01-03"),
        ("2024/01/02/orders-2024-01-03.csv", "2024/01/02 and 2024-01-03"),
        ("dt=2024-01-02/load_date=2024-01-03/x", "dt=2024-01-02 and load_date=2024-01-03"),
        ("20240102T0300_20240103T0300", "20240102 and 20240103"),
        ("2024-01-02/2024-01-02/20200101/2024-01-03", "2024-01-02 and 2024-01-03"),
    ],
)
def test_F6_key_dates_of_equal_strength_are_refused(key: str, texts: str) -> None:
    with pytest.raises(UnreadableKeyError, match=f"partition_pattern.*: {texts}$"):
        date_in_key(key)


@pytest.mark.parametrize(
    ("key", "texts"),
    [
        ("01-02-2024/order-20211105.json", "01-02-2024 and 20211105"),
        ("2024/Jan/02/order-20211105.json", "2024/Jan/02 and 20211105"),
        ("2024010203_19991231.log", "2024010203 and 19991231"),
        ("202401020315_19991231.log", "202401020315 and 19991231"),
        ("2024-1-2/order-20211105.json", "2024-1-2 and 20211105"),
        ("2024-02-30/order-20211105.json", "2024-02-30 and 20211105"),
        ("02.January.2024/20211105", "02.January.2024 and 20211105"),
        ("Jan 2 2024/20211105", "Jan 2 2024 and 20211105"),
        ("01.02.2024/2021_11_05.json", "01.02.2024 and 2021_11_05"),
        ("1/2/2024/20211105T0315Z.json", "1/2/2024 and 20211105"),
    ],
)
def test_F6_key_date_unclear_beside_a_weaker_is_refused(key: str, texts: str) -> None:
    with pytest.raises(UnreadableKeyError, match=f"partition_pattern.*: {texts}$"):
        date_in_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "01-02-2024/order-20240102.json",
        "02-01-2024/order-20240102.json",
        "2024/Jan/02/order-20240102.json",
        "2024010203_20240102.log",
        "2024-01-02/01-02-2021.json",
        "dt=2024-01-02/2021/Jan/05/x",
        "12-01-2024-01-02.csv",
        "v2021.1.5/20240102.csv",
        "2024_01_02/2021110503.csv",
        "5-2024-01-02.csv",
    ],
)
def test_F6_key_date_unclear_of_the_same_day_or_weaker_passes(key: str) -> None:
    assert date_in_key(key) == date(2024, 1, 2)


def test_F6_sensor_unclear_date_beside_another_is_skipped(scripted: Any, make_sensor: Make) -> None:
    scripted.put("01-02-2024/order-20211105.json")
    sensor = make_sensor(**scripted.options)
    (told,) = sensor.poll(sensor.init()).skipped
    assert told.reason.startswith("a date in the key cannot be read, or not clearly")
    assert told.example == "01-02-2024/order-20211105.json (01-02-2024 and 20211105)"


def test_F6_key_date_random_id_never_replaces_the_folder() -> None:
    source = random.Random(6)  # noqa: S311 - ids, not secrets
    ids = [f"{source.getrandbits(32):08x}" for _ in range(50_000)]
    # Those that are all digits, and a date, are rare: some are made on purpose.
    ids += [f"{year}{month:02}{day:02}" for year in (1900, 2024, 2199) for month, day in [(1, 31)]]
    for each in ids:
        assert date_in_key(f"logs/2024/01/02/{each}.json") == date(2024, 1, 2)


@pytest.mark.parametrize(
    "key",
    [
        "20240115251500.log",
        "1.2024.01.15",
        "x/ab20240115cd.bin",
        "x/0a20240115",
        "x/20240115e1",
        "x/1F20240115.bin",
    ],
)
def test_F6_key_date_within_an_id_does_not_count(key: str) -> None:
    assert date_in_key(key) is None


@pytest.mark.parametrize(
    "key", ["feed20240115.csv", "orders20240115b.csv", "20240115data.csv", "a/20240115_1a.csv"]
)
def test_F6_key_date_beside_a_word_counts(key: str) -> None:
    assert date_in_key(key) == date(2024, 1, 15)


def test_X7_key_date_choice_names_both() -> None:
    for key, choice in [
        ("dt=2024-01-02/load-2024-01-03", "'dt=2024-01-02', not '2024-01-03'"),
        ("dt=2024-01-02/20240102", ""),
        ("2024-01-02", ""),
    ]:
        assert choice_of_date(dates_in_key(key)) == choice


def test_X7_sensor_logs_which_date_counts(
    scripted: Any, make_sensor: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scripted.put("dt=2024-01-01/a")
    scripted.put("20240102_20240103")
    scripted.put("dt=2024-01-02/load-2024-01-03")
    scripted.put("dt=2024-01-02/load-2024-01-04")
    sensor = make_sensor(**scripted.options)
    state = sensor.poll(sensor.init()).state
    (told,) = [record.getMessage() for record in caplog.records if "several" in record.message]
    assert told == (
        "several dates in key 'dt=2024-01-02/load-2024-01-03': 'dt=2024-01-02', not '2024-01-03' "
        "counts (partition_pattern decides otherwise)"
    )
    caplog.clear()
    sensor.poll(state)
    make_sensor(**scripted.options, partition_pattern="(?P<all>.*)").poll(sensor.init())
    assert "several" not in caplog.text


def test_F6_queue_two_dates_of_equal_strength_are_rejected(
    queue: Live, make: MakeQueue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    queue.send(notice("2024/01/02/order-20211105.json"), notice("20240102_20240103.csv"))
    sensor = make()
    outcome = sensor.poll(sensor.init())
    assert [event.partition for event in outcome.events] == [date(2024, 1, 2)]  # type: ignore[union-attr]
    (told,) = outcome.skipped  # type: ignore[union-attr]
    assert told.reason == "two different dates in the key: set partition_pattern or partition_fn"
    assert told.example == "20240102_20240103.csv (20240102 and 20240103)"
    assert "several dates in key '2024/01/02/order-20211105.json': '2024/01/02', not" in caplog.text
