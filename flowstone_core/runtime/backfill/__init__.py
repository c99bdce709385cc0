"""Backfill: materializes a range of partitions of one asset, a few at a time.

The store remembers what a backfill has asked for, so that an interrupted backfill continues.

Modules:
    backfill: steps: which partitions are missing, asked for, waited for or skipped.
    plan: what a backfill would do for each partition.
    backfill_runner: runs a backfill to its end, and becomes a runner while there is none.
"""
