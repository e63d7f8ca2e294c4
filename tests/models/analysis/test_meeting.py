"""What rows know after all have met: the nearest of all whom they met, whatever the order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.analysis import meeting as module
from models.analysis.meeting import Meeting, Visitors
from models.analysis.nearest_so_far import take_others
from models.analysis.visiting import Reach
from models.indexes import cells as cells_module
from models.indexes.cells import Cells
from models.types import ArrayVectors, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from models.types import Matrix

METRICS = list(Metric)
ROWS, DIM, K = 500, 8, 4


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Let cells have 20 rows on average, and few similarities be made at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells_module, "CELL_ROWS", 20)
        patch.setattr(module, "_COMPARED", 256)
        yield


def matrix_of(kind: str, seed: int) -> Matrix:
    found = np.random.default_rng(seed).standard_normal((ROWS, DIM)).astype(np.float32)
    if kind == "copies":
        found[: ROWS // 2] = found[np.arange(ROWS // 2) % 7]
    if kind == "zeros":
        found[::3] = 0
    return found


def reach_of(kind: str, metric: Metric, seed: int, margin: float) -> Reach:
    """Some visits of some cells: margins are relative to how far cells are apart."""
    cells = Cells.of(ArrayVectors(matrix_of(kind, seed)), metric, seed)
    spread = float(np.ptp(cells.affinities(cells.centroids), axis=1).mean())
    return Reach(cells, cells.near(max(2, cells.count // 2)), margin * spread, least=3)


def who_met(reach: Reach) -> npt.NDArray[np.bool_]:
    """Those of a cell, and those of whom either visits the other's; not oneself: (rows, rows)."""
    cells = reach.cells
    homes = cells.homes()
    host = np.zeros((ROWS, cells.count), np.bool_)
    host[np.arange(ROWS), homes] = True
    for cell in range(cells.count):
        host[reach.visits(cell)] = True
    met: npt.NDArray[np.bool_] = host[:, homes] | host[:, homes].T
    np.fill_diagonal(met, val=False)
    return met


def check(meeting: Meeting, similarities: Matrix, met: npt.NDArray[np.bool_]) -> None:
    """Each list is the nearest of those whom its row met; of equals any."""
    expected = np.sort(np.where(met, similarities, -np.inf), axis=1)[:, -K:]
    np.testing.assert_array_equal(np.sort(meeting.similarities, axis=1), expected)
    for row in range(ROWS):
        known = meeting.places[row][meeting.places[row] >= 0]
        assert np.unique(known).size == known.size == min(K, met[row].sum())
        assert met[row, known].all()
        near = meeting.similarities[row][meeting.places[row] >= 0]
        np.testing.assert_array_equal(near, similarities[row, known])


def tighten(meeting: Meeting, cells: Cells) -> None:
    """Let all cells compare all bits, those of few rows too: then each pair has one similarity."""
    for cell in np.flatnonzero(~meeting.tight).tolist():
        own = cells.places(cell)
        meeting.places[own], meeting.similarities[own] = -1, -np.inf
        met = cells.closely(own, own)
        take_others(met, own.start, meeting.places[own], meeting.similarities[own])
    meeting.tight[:] = True
    meeting.resume([one.copy() for one in meeting.state])


@pytest.mark.parametrize("kind", ["usual", "copies", "zeros"])
@pytest.mark.parametrize("tight", [False, True], ids=["8 bits", "16 bits"])
@settings(max_examples=12)
@given(
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 50),
    margin=st.sampled_from([0.0, 0.02, 0.1, 0.4, np.inf]),
    turns=st.integers(1, 40),
)
def test_all_know_the_nearest_whom_they_met(
    kind: str, tight: bool, metric: Metric, seed: int, margin: float, turns: int
) -> None:
    reach = reach_of(kind, metric, seed, margin)
    cells = reach.cells
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_TELLING", np.inf if tight else -1.0)
        meeting = Meeting(cells, Visitors.of(reach), K)
        meeting.settle()
    assert meeting.tight.any() == tight
    if tight:
        tighten(meeting, cells)
    order = np.random.default_rng(seed).permutation(cells.count)
    for some in np.array_split(order, min(turns, cells.count)):
        meeting.receive(some)
    compare = cells.closely if tight else cells.roughly
    check(meeting, compare(slice(0, ROWS), slice(0, ROWS)), who_met(reach))
