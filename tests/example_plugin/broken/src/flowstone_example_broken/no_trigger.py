"""Plugin with an invalid trigger and a duplicate one, beside a valid trigger."""

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
