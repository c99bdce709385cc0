"""Alembic's side of the store: how migrations run, and the migrations."""
