"""Connection settings of an AWS service, and the boto3 session they configure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from flowstone_core import Duration, SensorConfig

if TYPE_CHECKING:
    from boto3.session import Session

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


def aws_session(config: ConnectionConfig) -> Session:
    """Return a boto3 session with the configured credentials.

    Args:
        config: The settings; without keys and profile, boto3 uses its default credential chain:
            environment, ``~/.aws``, the machine's role.

    Returns:
        A new session; only a new session reads renewed credentials.

    Raises:
        botocore.exceptions.BotoCoreError: If the profile does not exist.
    """
    import boto3

    return boto3.session.Session(
        profile_name=config.profile,
        region_name=config.region,
        aws_access_key_id=_reveal(config.access_key),
        aws_secret_access_key=_reveal(config.secret_key),
        aws_session_token=_reveal(config.session_token),
    )


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
