"""What of S3's failures may pass, and trying again: exponential pauses with jitter, bounded."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, TypeVar

from latentlake.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

TRIES = 8
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0

_PASSING_CODES = frozenset(
    {
        "ConditionalRequestConflict",
        "InternalError",
        "OperationAborted",
        "RequestTimeout",
        "RequestTimeTooSkewed",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_PASSING_STATUS = frozenset({429, 500, 502, 503, 504})


def pause(attempt: int) -> None:
    """Sleep before another try: .1, .2, .4 ... 10 s, each up to half shorter or longer."""
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
    time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  jitter


def retrying(place: str, call: Callable[[], Result], tries: int = TRIES) -> Result:
    """Call again while the failure may pass.

    Args:
        place: the `s3://` URL, for messages.
        call: safe to repeat.
        tries: how often, at most.

    Raises:
        StoreUnavailableError: it did not pass.
        StoreError: S3 refused, for another reason than the object's absence or a condition.
        botocore.exceptions.ClientError: the object is absent, or a condition does not hold.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    for attempt in range(tries):
        try:
            return call()
        except (BotoCoreError, ClientError, ConnectionError) as error:
            if not _may_pass(error):
                raise refused(place, error) from None
            if attempt == tries - 1:
                raise StoreUnavailableError(place, reason_of(error), tries) from None
            logger.info("%s: %s; trying again", place, reason_of(error))
            pause(attempt)
    raise AssertionError  # the loop returns or raises


def code_of(error: BaseException) -> str:
    """Return S3's own word for an error, such as "NoSuchKey" or "404"; empty for others."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an answer, 0 where there was none."""
    response = getattr(error, "response", None) or {}
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_absent(error: BaseException) -> bool:
    """Tell whether S3 says that there is no such object (rather than no such bucket)."""
    return code_of(error) in ("NoSuchKey", "404") or (
        status_of(error) == 404 and code_of(error) != "NoSuchBucket"  # noqa: PLR2004
    )


def is_condition(error: BaseException) -> bool:
    """Tell whether S3 says that the condition of the request does not hold."""
    return status_of(error) == 412  # noqa: PLR2004


def reason_of(error: BaseException) -> str:
    """Say on one line what happened, without addresses that could carry a signature."""
    code = code_of(error)
    return f"{code} ({status_of(error)})" if code else type(error).__name__


def _may_pass(error: BaseException) -> bool:
    from botocore import exceptions as known
    from botocore.parsers import ResponseParserError

    if isinstance(error, known.SSLError):
        return False
    no_answer = (known.ConnectionError, known.HTTPClientError, ConnectionError)
    half_an_answer = (known.IncompleteReadError, ResponseParserError)
    if isinstance(error, (*no_answer, *half_an_answer)):
        return True
    return code_of(error) in _PASSING_CODES or status_of(error) in _PASSING_STATUS


def refused(place: str, error: BaseException) -> BaseException:
    """Return what to raise for a refusal; absence and conditions are for the caller to judge."""
    if is_absent(error) or is_condition(error) or status_of(error) == 416:  # noqa: PLR2004
        return error
    return StoreError(place, reason_of(error), code=code_of(error))
