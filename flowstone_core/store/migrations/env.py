"""Run by Alembic: migrates the connection that it is given, in that connection's transaction."""

from __future__ import annotations

from alembic import context

from flowstone_core.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    # SQLite can change little of a table in place; Alembic then makes it anew and copies.
    render_as_batch=True,
)
context.run_migrations()
