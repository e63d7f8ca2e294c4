"""docs/reference/cli.md is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentlake.cli.reference import command_names, help_text, reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
RENEW = "renew it: python -m latentlake.cli.reference > docs/reference/cli.md"


@pytest.mark.parametrize("name", [None, *command_names()])
def test_the_reference_has_every_commands_help(name: str | None) -> None:
    assert help_text(name) in PAGE.read_text("utf-8"), RENEW


def test_the_reference_has_nothing_else() -> None:
    assert PAGE.read_text("utf-8") == reference(), RENEW
