"""`latentlake duplicates --between` on a lake where one note repeats another."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Invoke

ORIGINALS = "source = 'notes' AND key <> 'copy'"


def test_the_leak_is_listed_with_its_twin(invoke: Invoke) -> None:
    between = ("duplicates", "--between", ORIGINALS, "--and", "key = 'copy'")
    result = invoke(*between, "--format", "json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)
    assert (row["kind"], row["score"], row["space"], row["twins"]) == ("exact", 1, None, 1)
    assert row["item"].endswith("#copy")
    assert "1 of 1 items of 'key = 'copy'' repeat one of 80" in result.stderr
    assert invoke(*between, "--format", "json", "--space", "words").stdout == result.stdout
    table = invoke(*between)
    assert ": 1 exact." in table.stdout
    (line,) = csv.DictReader(io.StringIO(invoke(*between, "--format", "csv").stdout))
    assert line["item_id"] == row["item_id"]


@pytest.mark.parametrize(
    ("kind", "code"), [((), 1), (("--kind", "exact"), 1), (("--kind", "lexical"), 0)]
)
def test_ci_can_fail_on_a_leak(invoke: Invoke, kind: tuple[str, ...], code: int) -> None:
    between = ("duplicates", "leaks", "--between", ORIGINALS, "--and", "key = 'copy'")
    assert invoke(*between, *kind, "--fail-if-any").exit_code == code
    assert invoke(*between, *kind).exit_code == 0


def test_two_sources_may_stand_in_one_option(invoke: Invoke) -> None:
    result = invoke("duplicates", "--between", "notes,photos", "--format", "json", "--fail-if-any")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == []
    assert "0 of 8 items of 'photos' repeat one of 81 of 'notes'." in result.stderr
    assert "8 are in no space with the first set" in result.stderr


@pytest.mark.parametrize("sets", ["notes", "notes,", "notes,photos,notes"])
def test_one_set_is_not_enough(invoke: Invoke, sets: str) -> None:
    result = invoke("duplicates", "--between", sets)
    assert result.exit_code == 2
    assert "--between A,B" in result.stderr


def test_a_set_that_is_none_is_told(invoke: Invoke) -> None:
    result = invoke("duplicates", "--between", "notes,fotos")
    assert result.exit_code == 1
    assert "'fotos' is no source and no condition. Did you mean 'photos'" in result.stderr
