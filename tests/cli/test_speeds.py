"""`doctor --bench`: parts are measured for real, the judgement of kernels on given figures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from latentlake.cli import speeds
from models.indexes.faiss_library import BLAS_VARIABLE

if TYPE_CHECKING:
    from tests.cli.conftest import Invoke


def test_every_part_is_measured(invoke: Invoke) -> None:
    rows = json.loads(invoke("doctor", "--bench", "--format", "json").stdout)
    found = [row for row in rows if row["subject"].startswith("speed: ")]
    units = ["GFLOP/s", "photos a second", *["images a second"] * 3]
    assert len(found) == len(units)
    for row, unit in zip(found, units, strict=True):
        assert unit in row["finding"]
        assert int(row["finding"].split()[0]) > 0, row
    engines = [row["finding"] for row in found[2:]]
    assert "openvino" in engines[0]
    assert "openvino" in engines[1]
    assert "torch" in engines[2]


@pytest.mark.parametrize(
    ("chosen", "best", "state", "finding"),
    [
        (None, "SkylakeX", "ok", "190 GFLOP/s a core with SkylakeX kernels, 4.8 x detection"),
        ("SkylakeX", "SkylakeX", "ok", "190 GFLOP/s"),
        ("Haswell", "SkylakeX", "warn", "; 100 with Haswell, which the environment asks for"),
        ("Sapphire", "SkylakeX", "ok", "; 180 with Sapphire"),
        (None, None, "ok", "40 GFLOP/s a core with kernels by detection"),
    ],
)
def test_only_clearly_slower_kernels_of_the_users_are_worth_a_warning(
    chosen: str | None,
    best: str | None,
    state: str,
    finding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = {None: 40.0, "Haswell": 100.0, "Sapphire": 180.0, "SkylakeX": 190.0}
    monkeypatch.setattr(speeds, "gigaflops", figures.__getitem__)
    monkeypatch.setattr(speeds, "blas_core", lambda _: best)
    if chosen is None:
        monkeypatch.delenv(BLAS_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(BLAS_VARIABLE, chosen)
    kernels = next(speeds.measure_all())
    assert kernels.state == state
    assert finding in kernels.finding
    assert kernels.remedy == ("unset OPENBLAS_CORETYPE" if state == "warn" else "")
