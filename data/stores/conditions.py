"""Writes on a condition: what locks, snapshots and notes on S3 stand on."""

from __future__ import annotations

import secrets
from functools import lru_cache, partial

from data.stores.connection import connect
from data.stores.retries import TRIES, is_absent, is_condition, pause, refused, retrying
from latentlake.errors import ConfigError, StoreUnavailableError


def put_if(bucket: str, key: str, content: bytes, etag: str | None) -> str | None:
    """Put an object with If-Match, or with If-None-Match where `etag` is None.

    A refusal is looked into: where an answer was lost the object may be our own (it carries a mark
    that tells), and some servers refuse on a condition that holds.

    Returns:
        The new etag; None, with nothing changed, where the condition does not hold.

    Raises:
        StoreError, StoreUnavailableError: S3 refused or did not answer.
    """
    from botocore.exceptions import ClientError

    place, mark = f"s3://{bucket}/{key}", secrets.token_hex(16)
    condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
    put = partial(connect().client.put_object, Bucket=bucket, Key=key, Body=content, **condition)
    for attempt in range(TRIES):
        try:
            return str(retrying(place, partial(put, Metadata={"writer": mark}))["ETag"])
        except ClientError as error:
            if not is_condition(error) and not is_absent(error):
                raise refused(place, error) from None
        found, writer = _state_of(bucket, key)
        if writer == mark:
            return found
        if found != etag:
            return None
        pause(attempt)
    raise StoreUnavailableError(place, "PreconditionFailed (412)", TRIES)


def _state_of(bucket: str, key: str) -> tuple[str | None, str | None]:
    """Return an object's etag and the mark it carries, as far as there are any."""
    from botocore.exceptions import ClientError

    place = f"s3://{bucket}/{key}"
    head = partial(connect().client.head_object, Bucket=bucket, Key=key)
    try:
        answer = retrying(place, head)
    except ClientError as error:
        if is_absent(error):
            return None, None
        raise refused(place, error) from None
    return str(answer["ETag"]), answer["Metadata"].get("writer")


@lru_cache(maxsize=16)
def prove_conditions(endpoint: str | None, bucket: str, prefix: str) -> None:  # noqa: ARG001
    """Make the endpoint show, once a process, that it keeps to conditions.

    Raises:
        ConfigError: it does not; two runs could overwrite each other's commits.
    """
    key = f"{prefix}_tmp-probe-{secrets.token_hex(8)}"  # vacuum knows such names
    tried = ((b"1", None, True), (b"2", None, False), (b"3", '"0"', False))
    try:
        kept = [
            (put_if(bucket, key, content, etag) is not None) is expected
            for content, etag, expected in tried
        ]
    finally:
        delete = partial(connect().client.delete_object, Bucket=bucket, Key=key)
        retrying(f"s3://{bucket}/{key}", delete)
    if not all(kept):
        raise ConfigError(
            f"s3://{bucket}: this endpoint ignores If-None-Match or If-Match, so two runs could "
            "overwrite each other's commits. Use one that has conditional writes (Amazon S3, "
            "MinIO, Ceph, R2)."
        )
