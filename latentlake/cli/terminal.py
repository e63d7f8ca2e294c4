"""Foreign text on its way to a terminal, which takes some characters for commands."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_SPACE: Final = re.compile("[\t-\r\x85\u2028\u2029]")
_BEYOND_C0: Final = "\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""C1 controls, and those that turn the direction of writing (Unicode's Bidi_Control)."""
_COMMANDS: Final = re.compile(f"[\x00-\x1f{_BEYOND_C0}]")
# JSON escapes C0 in strings by its standard; between them they are line ends.
_COMMANDS_IN_JSON: Final = re.compile(f"[{_BEYOND_C0}]")


def shown(text: str) -> str:
    r"""Return a text on one line: line ends and tabs as blanks, control characters as ``\x1b``.

    What is right for a terminal is not faithful; JSON, CSV and Parquet are.
    """
    if text.isprintable():
        return text
    return _COMMANDS.sub(_escape, _SPACE.sub(" ", text))


def json_text(value: Any, indent: int | None = None) -> str:
    """Write JSON in which no control character stands as itself; it reads back the same."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else _COMMANDS_IN_JSON.sub(_json_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
