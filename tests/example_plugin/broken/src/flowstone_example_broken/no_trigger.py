"""Provides what is no trigger, and one by a name that is taken, beside one that is sound."""

from datetime import timedelta

from flowstone_core import Trigger, hookimpl

FLOWSTONE_API = 1


class Hourly(Trigger):
    def next_fire(self, after):
        return after + timedelta(hours=1)


class Unfinished(Trigger):
    pass


@hookimpl
def flowstone_triggers():
    return {"elapsed": Hourly, "timezone": Hourly, "unfinished": Unfinished, "text": "* * * * *"}
