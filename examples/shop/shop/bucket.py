"""Bucket of the shop's order files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "shop"
PREFIX = "orders/"


def connect() -> S3Client:
    """Return a client of the S3 service that the environment names.

    Each call makes its own session: boto3's default one is not safe to share between threads, and
    several partitions may be materialized at once. boto3 is imported here and not above, because
    every command of FlowStone imports this module, and few need it.
    """
    import boto3

    session = boto3.Session(
        aws_access_key_id=os.environ["SHOP_ACCESS_KEY"],
        aws_secret_access_key=os.environ["SHOP_SECRET_KEY"],
        region_name="us-east-1",
    )
    return session.client("s3", endpoint_url=os.environ["SHOP_S3_URL"])
