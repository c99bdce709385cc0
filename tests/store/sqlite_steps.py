"""SQLite steps: the cost of a call on a store, without a clock."""


def steps(store, call):
    """Count the steps that SQLite's machine takes for a call."""
    found = []

    def watch(step):
        # The one connection that a store with one caller has.
        store._database.read(
            lambda connection: connection.connection.dbapi_connection.set_progress_handler(step, 1)
        )

    watch(lambda: found.append(1))
    call()
    watch(None)
    return len(found)
