"""How S3, or another service that speaks like AWS, is reached: the settings, and the client."""

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
    """Where the service is, who asks it, and how long an answer may take."""

    endpoint_url: str | None = Field(
        None,
        description="where the service is, such as http://127.0.0.1:9000; Amazon's own if not set",
    )
    region: str | None = Field(
        None,
        min_length=1,
        description="the AWS region, such as eu-west-1; the profile's or the environment's if "
        "not set",
    )
    profile: str | None = Field(
        None, min_length=1, description="a profile of the AWS configuration; excludes access_key"
    )
    access_key: Secret | None = Field(
        None, description="goes with secret_key; without both, the usual AWS places are asked"
    )
    secret_key: Secret | None = Field(None, description="goes with access_key")
    session_token: Secret | None = Field(
        None, description="of temporary credentials, beside access_key and secret_key"
    )
    timeout: Annotated[Duration, Field(gt=timedelta(0), le=timedelta(minutes=10))] = Field(
        timedelta(seconds=10), description="how long one request may take to connect, or to answer"
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
            raise ValueError(f"{url!r:.80} is no endpoint; write http://HOST:PORT or https://HOST")
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
    """Make the session of boto3 that signs as the settings say.

    Args:
        config: Who asks; where neither keys nor a profile are set, boto3 looks where it always
            does: environment, ``~/.aws``, the machine's role.

    Returns:
        A session of its own. Make another one to have renewed credentials read.

    Raises:
        botocore.exceptions.BotoCoreError: If the profile is not there.
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
