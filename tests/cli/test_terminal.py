"""What foreign text may do to a terminal: nothing."""

from __future__ import annotations

import json
import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from latentlake.cli.terminal import json_text, shown

EVERYTHING = "".join(
    character
    for character in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(character) != "Cs"
)


def is_command(character: str) -> bool:
    """Controls, line and paragraph ends, and what turns the direction of writing."""
    turns = (
        unicodedata.bidirectional(character)
        in {*("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")}
        or character in "\u061c\u200e\u200f"
    )
    return unicodedata.category(character) in {"Cc", "Zl", "Zp"} or turns


def test_no_command_reaches_a_terminal() -> None:
    text = shown(EVERYTHING)
    assert [hex(ord(character)) for character in text if is_command(character)] == []
    kept = {character for character in EVERYTHING if not is_command(character)}
    assert kept <= set(text)


def test_a_command_shows_itself() -> None:
    assert shown("a\x1b[31m\u202egpj.exe\n") == "a\\x1b[31m\\u202egpj.exe "


def test_json_has_no_command_and_reads_back() -> None:
    text = json_text({EVERYTHING: [EVERYTHING]})
    separators = "\u2028\u2029"  # they end lines in JavaScript, and do nothing to a terminal
    assert [c for c in text if is_command(c) and c not in separators] == []
    assert json.loads(text) == {EVERYTHING: [EVERYTHING]}


@given(st.recursive(st.text() | st.integers() | st.none(), lambda e: st.lists(e, max_size=3)))
def test_any_json_reads_back(value: object) -> None:
    assert json.loads(json_text(value, indent=1)) == value
