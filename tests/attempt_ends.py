"""End of one attempt, as an engine would commit it."""

from flowstone_core.model.engine import AttemptEnd


def finish(queue, claim, result, assets, now):
    """Commit the result of one attempt; return what changed, or raise if it is stale."""
    ended = queue.finish([AttemptEnd(claim, result)], assets, now)
    for error in ended.stale.values():
        raise error
    return list(ended.changed)
