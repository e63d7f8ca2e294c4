"""What a disk refuses, said in one line: it is full, over its quota, or read-only.

Arrow, delta-rs, DuckDB and FAISS each raise their own class for it, most of them without an errno,
but all pass on the words of the operating system.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from latentlake.errors import LakeNotWritableError, LatentlakeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WAYS_OUT: Final = {
    errno.ENOSPC: "make room, then run again: what was finished is kept.",
    errno.EDQUOT: "make room, then run again: what was finished is kept.",
    errno.EFBIG: "raise the limit, then run again: what was finished is kept.",
    errno.EROFS: "mount it writable, or run on a copy; reading goes on working.",
    errno.EACCES: "let this user write there; reading goes on working.",
    errno.EPERM: "let this user write there; reading goes on working.",
}


@contextmanager
def writing_to(place: Path | str) -> Iterator[None]:
    """Turn a disk's refusal inside the block into an error with a way out.

    Args:
        place: what is being written; the message names it.

    Raises:
        LakeNotWritableError: the disk is full, over quota or read-only.
    """
    try:
        yield
    except LatentlakeError:
        raise
    except Exception as error:
        number = refusal(error)
        if number is None:
            raise
        raise LakeNotWritableError(
            str(place), os.strerror(number).lower(), _WAYS_OUT[number]
        ) from error


def refusal(error: BaseException) -> int | None:
    """Return the errno of a disk's refusal, by whichever library it was passed on, or None."""
    if isinstance(error, OSError) and error.errno in _WAYS_OUT:
        return error.errno
    said = str(error)
    return next((number for number in _WAYS_OUT if os.strerror(number) in said), None)
