"""A look at a bucket before anything is done with it, so that what is wrong is told in seconds."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from data.stores.connection import connect
from data.stores.retries import retrying
from latentlake.errors import ConfigError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from data.stores.connection import Connection

_TRIES: Final = 3
_REMEDIES: Final = {
    "NoSuchBucket": "There is no such bucket: create it, or correct its name.",
    "AccessDenied": "What the credentials allow is too little: docs/how-to/use-s3.md lists what is "
    "needed.",
} | dict.fromkeys(
    ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN, too, if they are "
    "temporary), or AWS_PROFILE.",
)


def check_bucket(bucket: str, prefix: str) -> None:
    """List one object, once a process and place.

    Raises:
        StoreError: there is no such bucket, or the credentials are wrong or allow too little.
        StoreUnavailableError: nobody answers.
        ConfigError: the bucket is in another region.
    """
    _check(connect(), bucket, prefix)


@lru_cache(maxsize=64)
def _check(connection: Connection, bucket: str, prefix: str) -> None:
    place = f"s3://{bucket}/{prefix}".rstrip("/")
    ask = partial(connection.client.list_objects_v2, Bucket=bucket, Prefix=prefix, MaxKeys=1)
    try:
        answer = retrying(place, ask, _TRIES)
    except StoreUnavailableError as error:
        where = connection.endpoint or f"Amazon S3 in {connection.region}"
        remedy = f"That is {where}: check AWS_ENDPOINT_URL, the proxy and the network."
        raise StoreUnavailableError(place, error.reason, _TRIES, remedy) from None
    except StoreError as error:
        raise StoreError(place, error.reason, _REMEDIES.get(error.code, "")) from None
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region")
    if connection.endpoint is None and told not in (None, connection.region):
        # botocore would follow; Arrow and delta-rs would not.
        raise ConfigError(f"{place}: the bucket is in {told}: set AWS_REGION={told}.")
