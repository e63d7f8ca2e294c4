"""Which cells a row visits so that it and its neighbours meet, read off a sample."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.results import marked_cells

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.indexes.cells import Cells
    from models.indexes.recall import GroundTruth
    from models.types import Matrix, RowIds

_FOURTH: Final = 4
_LEAST_NEAR: Final = 64
_OUT_OF_REACH: Final = 0.3
"""Of the neighbours that may be missed, so many in cells that are not looked at."""
_ERRORS: Final = 2.0
"""Standard errors: 97 of 100 samples then name a margin that finds as much."""
_COUNTED: Final = 64
"""Cells whose visits tell how many all have."""
_PAIRS_AT_ONCE: Final = 1024


@dataclass(frozen=True, slots=True)
class Reach:
    """Which cells a row visits: those hardly farther than the fourth nearest, and all nearer ones.

    Where many cells are about as near a row has neighbours in many of them. For the same share of
    the neighbours that is fewer comparisons than with one number of cells for all rows, or with a
    margin over the nearest cell (decision 0027).

    Attributes:
        cells: what is visited.
        near: (cells, any) int32, ascending: the cells beside each, itself among them.
        margin: how much farther.
        least: how many others a row is to meet whatever the margin: an outlier may live alone.
    """

    cells: Cells
    near: npt.NDArray[np.int32]
    margin: float
    least: int = 0

    def visits(self, cell: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return which rows of a cell visit which others: places and cells."""
        own = self.cells.places(cell)
        lead = self._lead(own, cell)
        marked = lead >= -self.margin
        if own.stop - own.start <= self.least:
            marked |= self._first(lead, cell)
        marked[:, self.near[cell] == cell] = False
        place, other = marked_cells(marked)
        return (place + own.start).astype(np.int32), self.near[cell][other]

    def visit_count(self) -> int:
        """Return about how many visits there are, by those of some cells."""
        count = self.cells.count
        some = np.unique(np.linspace(0, count - 1, min(count, _COUNTED)).astype(np.int64))
        visits = sum(self.visits(int(cell))[0].size for cell in some)
        return int(visits / self.cells.lengths[some].sum() * self.cells.rows.size)

    def _first(self, lead: Matrix, cell: int) -> npt.NDArray[np.bool_]:
        """Mark the nearest cells, as many as have the least number of rows beside the own ones."""
        near, bounds = self.near[cell], self.cells.bounds
        lengths = np.where(near == cell, 0, bounds[near + 1] - bounds[near])
        order = np.argsort(-lead, axis=1, kind="stable")
        before = np.cumsum(lengths[order], axis=1) - lengths[order]
        marked = np.zeros(lead.shape, np.bool_)
        wanted = self.least + 1 - (bounds[cell + 1] - bounds[cell])
        np.put_along_axis(marked, order, before < wanted, axis=1)
        return marked

    def leads(self, places: RowIds, others: RowIds, homes: npt.NDArray[np.int32]) -> Matrix:
        """Return how much nearer than the fourth nearest the cells of others are to some rows.

        Args:
            places: (pairs,).
            others: (pairs,).
            homes: the cell of each place.

        Returns:
            (pairs,) float32; -inf for a cell that is not beside the own one.
        """
        found = np.full(places.size, -np.inf, np.float32)
        mine, theirs = homes[places], homes[others]
        order = np.argsort(mine, kind="stable")
        starts = np.flatnonzero(np.diff(mine[order], prepend=-1))
        for group in np.split(order, starts[1:]):
            near = self.near[mine[group[0]]]
            unique, which = np.unique(places[group], return_inverse=True)
            leads = self._lead(unique, int(mine[group[0]]))
            at = np.minimum(np.searchsorted(near, theirs[group]), near.size - 1)
            found[group] = np.where(near[at] == theirs[group], leads[which, at], -np.inf)
        return found

    def _lead(self, places: RowIds | slice, cell: int) -> Matrix:
        """Return how much nearer than the fourth nearest all cells beside theirs are to some rows.

        Args:
            places: rows of one cell.
            cell: that one.

        Returns:
            (places, near) float32.
        """
        found = self.cells.affinities(self.cells.vectors(places), self.near[cell])
        fourth = max(0, found.shape[1] - _FOURTH)
        found -= np.partition(found, fourth, axis=1)[:, fourth][:, None]
        return found


def reach_for(cells: Cells, truth: GroundTruth, share: float) -> Reach:
    """Return how far rows have to reach until they meet a share of their k nearest others.

    What is just enough for a sample is too little for half of all samples: so two standard errors
    more of the neighbours are met.

    Args:
        cells: of all vectors.
        truth: some rows, and their true neighbours.
        share: of these, in (0, 1].
    """
    if truth.k == 0:  # a single row
        return Reach(cells, cells.near(1), 0.0)
    place = np.empty(cells.rows.size, np.int64)
    place[cells.rows] = np.arange(place.size)
    own, other = place[np.repeat(truth.rows, truth.k)], place[truth.neighbours.rows.ravel()]
    homes = cells.homes()
    near = _near_enough(cells, homes[own], homes[other], _OUT_OF_REACH * (1 - share))
    reach = Reach(cells, cells.near(near), 0.0, truth.k)
    leads = np.maximum(reach.leads(own, other, homes), reach.leads(other, own, homes))
    leads[homes[own] == homes[other]] = np.inf
    return replace(reach, margin=_margin(leads.reshape(truth.neighbours.rows.shape), share))


def _near_enough(
    cells: Cells, own: npt.NDArray[np.int32], other: npt.NDArray[np.int32], lost: float
) -> int:
    """Return how many cells beside each are looked at so that few pairs have theirs elsewhere."""
    ranks = np.empty(own.size, np.int64)
    for start in range(0, own.size, _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        ranks[part] = np.minimum(
            _ranks(cells, own[part], other[part]), _ranks(cells, other[part], own[part])
        )
    most = int(np.quantile(ranks, 1 - lost, method="higher")) + 1
    return min(cells.count, max(_LEAST_NEAR, most))


def _ranks(cells: Cells, own: npt.NDArray[np.int32], other: npt.NDArray[np.int32]) -> RowIds:
    """Return how many cells are nearer to cells than others are, by their centroids."""
    unique, which = np.unique(own, return_inverse=True)
    found = cells.affinities(cells.centroids[unique])
    ranked = np.sort(found, axis=1)
    return np.array(
        [
            found.shape[1] - np.searchsorted(ranked[row], found[row, cell], side="right")
            for row, cell in zip(which.tolist(), other.tolist(), strict=True)
        ],
        np.int64,
    )


def _margin(leads: Matrix, share: float) -> float:
    """Return the margin with which a share of the neighbours is met, beyond the doubt."""
    ranked = np.sort(leads, axis=None)
    missed = max(0, min(ranked.size - 1, int((1 - share) * ranked.size)))
    met = (leads >= ranked[missed]).mean(axis=1)
    doubt = float(met.std()) / sqrt(met.size)
    surely = max(0, int((1 - min(1.0, share + _ERRORS * doubt)) * ranked.size))
    return -float(ranked[surely])
