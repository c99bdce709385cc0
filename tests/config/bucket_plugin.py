"""Plugins of the tests: a sensor type ``bucket`` and an engine ``local``, without discovery."""

from typing import Annotated

import pydantic

from flowstone_core.model.engine import Engine
from flowstone_core.model.sensor import Sensor, SensorConfig
from flowstone_core.model.setting_types import Verbatim
from flowstone_core.plugin.contributions import Contribution
from flowstone_core.plugin.entry_points import PluginReport
from flowstone_core.plugin.registry import Plugins


class BucketConfig(SensorConfig):
    bucket: str = pydantic.Field(description="the bucket's name")
    prefix: str = pydantic.Field("", max_length=60)
    suffixes: tuple[str, ...] = ()
    secret_key: pydantic.SecretStr | None = None
    sql: Annotated[str, Verbatim()] | None = None
    pages: int = 1

    @pydantic.field_validator("bucket")
    @classmethod
    def _lower(cls, value):
        if value != value.lower():
            raise ValueError(f"{value!r} has capitals; the part {value[2:9]!r} is wrong")
        return value


class BucketSensor(Sensor[BucketConfig, int]):
    Config = BucketConfig

    def init(self):
        return 0

    def poll(self, state):
        raise NotImplementedError


class LocalEngine(Engine):
    pass


def provided(name, value):
    return Contribution(name, value, "buckets", "flowstone-buckets", "1.2")


REPORTS = (
    PluginReport("builtin", "flowstone-core", "0.1", "ok", None, None, (), ("local",), ()),
    PluginReport("buckets", "flowstone-buckets", "1.2", "ok", None, None, ("bucket",), (), ()),
)


def plugins_of(*reports):
    return Plugins(
        reports=REPORTS + reports,
        sensors={"bucket": provided("bucket", BucketSensor)},
        engines={"local": provided("local", LocalEngine)},
    )
