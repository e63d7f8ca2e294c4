"""The way to S3: credentials as botocore finds them, one client, Arrow's and Delta's own clients.

Credentials come from the usual AWS places (variables, profile files, the machine's role) each time
they are needed. They are handed to the libraries that sign requests and go nowhere else: no object
here prints them, and none is stored with the lake.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from latentlake.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 60
_ANY_REGION = "us-east-1"
"""What servers that are not Amazon's take unless they are told otherwise."""
_TRIES = 8
"""Tries of Arrow's and Delta's clients; ours are in `data.stores.retries`."""


def connect() -> Connection:
    """Return the process's connection to S3, as the environment describes it now.

    Raises:
        MissingExtraError: botocore is not installed.
        ConfigError: the AWS configuration is wrong, or there are no credentials.
    """
    relevant = sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))
    return _connection(blake2b(repr(relevant).encode()).hexdigest())


@lru_cache(maxsize=4)
def _connection(environment: str) -> Connection:  # noqa: ARG001  the cache's key
    return Connection()


class Connection:
    """Clients of one S3 endpoint that share one set of credentials.

    Attributes:
        client: botocore's; safe to share between threads. It tries once: see `retries`.
        endpoint: the URL of an endpoint that is not Amazon's, or None.
        region: the region that requests are signed for.
    """

    def __init__(self) -> None:
        try:
            import botocore.session
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ModuleNotFoundError:
            raise MissingExtraError("S3", "botocore", "'latentlake[s3]'") from None
        # Below this level it tells the headers of requests, and in them session tokens.
        logging.getLogger("botocore").setLevel(logging.INFO)
        try:
            session = botocore.session.get_session()
            # botocore itself reads AWS_DEFAULT_REGION only; every other SDK reads AWS_REGION.
            configured = os.environ.get("AWS_REGION") or session.get_config_variable("region")
            self.region: str = configured or _ANY_REGION
            self._credentials: Any = session.get_credentials()
            options: dict[str, Any] = {
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "read_timeout": _READ_TIMEOUT_S,
                "max_pool_connections": 32,
                "retries": {"mode": "standard", "total_max_attempts": 1},
            }
            self.client = session.create_client(
                "s3", region_name=self.region, config=Config(**options)
            )
            self.endpoint = _foreign(self.client.meta.endpoint_url)
            if self.endpoint:
                # Most servers that are not Amazon's know paths only, and no checksum trailers.
                options["s3"] = {"addressing_style": "path"}
                options["request_checksum_calculation"] = "when_required"
                options["response_checksum_validation"] = "when_required"
                self.client = session.create_client(
                    "s3", region_name=self.region, config=Config(**options)
                )
        except BotoCoreError as error:
            raise ConfigError(f"S3: {error}") from None
        if not configured and not self.endpoint:
            raise ConfigError("S3: no region. Set AWS_REGION to that of the bucket.")
        if self._credentials is None:
            raise ConfigError(
                "S3: no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_PROFILE, or run 'aws configure'."
            )

    def __repr__(self) -> str:
        return f"Connection({self.endpoint or 'AWS'!r}, region={self.region!r})"

    def filesystem(self) -> FileSystem:
        """Return Arrow's client, with credentials that are fresh now."""
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        keys = self._credentials.get_frozen_credentials()
        scheme, _, host = (self.endpoint or "").rpartition("://")
        return S3FileSystem(
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            session_token=keys.token,
            region=self.region,
            endpoint_override=host or None,
            scheme=scheme or "https",
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=_TRIES),
            connect_timeout=_CONNECT_TIMEOUT_S,
            request_timeout=_READ_TIMEOUT_S,
        )

    def delta_options(self) -> dict[str, str]:
        """Return Delta's storage options, with credentials that are fresh now.

        `aws_conditional_put` makes a commit a PUT with If-None-Match: of racing commits of one
        version exactly one succeeds, without a lock table.
        """
        keys = self._credentials.get_frozen_credentials()
        options = {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_region": self.region,
            "aws_conditional_put": "etag",
            "connect_timeout": f"{_CONNECT_TIMEOUT_S}s",
            "timeout": f"{_READ_TIMEOUT_S}s",
            "max_retries": str(_TRIES),
        }
        if keys.token:
            options["aws_session_token"] = keys.token
        if self.endpoint:
            options |= {
                "aws_endpoint_url": self.endpoint,
                "aws_allow_http": str(self.endpoint.startswith("http://")).lower(),
                "aws_virtual_hosted_style_request": "false",
            }
        return options


def split(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of an `s3://` URL; the prefix ends with a slash or is empty.

    Raises:
        ConfigError: there is no bucket in it, or an empty or relative part.
    """
    bucket, _, rest = uri.removeprefix("s3://").partition("/")
    prefix = rest.rstrip("/")
    if not bucket or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise ConfigError(f"'{uri}': s3://bucket/prefix is the form of a place on S3.")
    return bucket, f"{prefix}/" if prefix else ""


def _foreign(endpoint: str) -> str | None:
    """Return an endpoint unless it is the one that every client takes by itself."""
    host = endpoint.partition("://")[2].partition("/")[0].partition(":")[0]
    return None if host.endswith((".amazonaws.com", ".amazonaws.com.cn")) else endpoint
