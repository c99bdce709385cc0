"""Digests of files, and statements run on a store."""

from __future__ import annotations

from flowstone_core.store.database import Database
from flowstone_core.store.store_url import parse_url

PATIENCE = 300


def run(url, statement):
    database = Database(parse_url(url))
    try:
        return database.write(lambda connection: connection.exec_driver_sql(statement))
    finally:
        database.close()
