"""Values that JSON can hold, out of whatever a table or a document holds."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta

from data.sources.limits import MAX_NESTING
from data.sources.text_lines import without_marks
from latentlake.errors import BadInputError

_AS_IT_IS = (int, bool, type(None))


def plain_value(value: object, depth: int = 0) -> object:
    """Return a value as JSON can hold it.

    Numbers that are not finite become None, dates ISO 8601, durations seconds, broken characters
    U+FFFD, anything else its text.

    Raises:
        BadInputError: nested deeper than `MAX_NESTING`.
    """
    if type(value) in _AS_IT_IS:
        return value
    if isinstance(value, str):
        return without_marks(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return _nested(value, depth + 1)


def _nested(value: object, depth: int) -> object:
    if depth > MAX_NESTING:
        raise BadInputError(f"metadata nested deeper than {MAX_NESTING} levels")
    if isinstance(value, dict):
        return {without_marks(str(key)): plain_value(one, depth) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(one, depth) for one in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    return without_marks(str(value))
