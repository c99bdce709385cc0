"""Connection settings of an AWS service, and the botocore client they configure."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from flowstone_core import Duration, SensorConfig

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from botocore.loaders import Loader

Secret = Annotated[SecretStr, Field(min_length=1)]


class ConnectionConfig(SensorConfig):
    """Settings of the endpoint, the credentials and the request timeout."""

    endpoint_url: str | None = Field(
        None,
        description="URL of the service, such as http://127.0.0.1:9000; Amazon's own if not set",
    )
    region: str | None = Field(
        None,
        min_length=1,
        description="the AWS region, such as eu-west-1; that of the profile or environment if "
        "not set",
    )
    profile: str | None = Field(
        None, min_length=1, description="a profile of the AWS configuration; excludes access_key"
    )
    access_key: Secret | None = Field(
        None, description="goes with secret_key; without both, the default AWS credential chain"
    )
    secret_key: Secret | None = Field(None, description="goes with access_key")
    session_token: Secret | None = Field(
        None, description="of temporary credentials, beside access_key and secret_key"
    )
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(minutes=10))] = Field(
        timedelta(seconds=10), description="limit of one request, to connect and to respond"
    )

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.username is not None:
            raise ValueError("credentials do not belong in a URL; use access_key and secret_key")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(
                f"invalid endpoint_url {url!r:.80}; write http://HOST:PORT or https://HOST"
            )
        return url

    @model_validator(mode="after")
    def _check_credentials(self) -> ConnectionConfig:
        wrong = []
        if (self.access_key is None) != (self.secret_key is None):
            wrong.append("access_key and secret_key go together: set both, or neither")
        if self.session_token is not None and self.access_key is None:
            wrong.append("session_token goes with access_key and secret_key")
        if self.profile is not None and self.access_key is not None:
            wrong.append("profile and access_key exclude each other")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def aws_client(
    config: ConnectionConfig, service: str, *, region: str | None, attempts: int
) -> BaseClient:
    """Return a botocore client with the configured credentials and endpoint.

    Without keys and profile, botocore uses its default credential chain: environment, ``~/.aws``,
    the machine's role. Each client has its own session, because only a new session reads
    renewed credentials; all share the service models, 3 MB of JSON.

    Args:
        config: The settings.
        service: The name of the service: ``s3`` or ``sqs``.
        region: The region; that of the profile or environment if None.
        attempts: Most attempts of one request.

    Raises:
        botocore.exceptions.BotoCoreError: If the profile does not exist, or there is no region.
    """
    from botocore.config import Config
    from botocore.session import Session

    session = Session(profile=config.profile)
    session.register_component("data_loader", _service_models())
    if config.access_key is not None and config.secret_key is not None:
        session.set_credentials(
            config.access_key.get_secret_value(),
            config.secret_key.get_secret_value(),
            config.session_token.get_secret_value() if config.session_token else None,
        )
    seconds = config.timeout.total_seconds()
    client: BaseClient = session.create_client(
        service,
        region_name=region,
        endpoint_url=config.endpoint_url,
        config=Config(
            connect_timeout=seconds,
            read_timeout=seconds,
            retries={"mode": "adaptive", "total_max_attempts": attempts},
        ),
    )
    return client


@cache
def _service_models() -> Loader:
    from botocore.loaders import create_loader

    return create_loader()
