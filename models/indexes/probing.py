"""Which inverted lists each row probes where all rows ask: those in which a neighbour is likely.

With one number of lists for all rows, a row in the middle of its list probes too many and a row
between many lists too few. So each list is judged by what a comparison there is worth. Neighbours
are taken to lie the denser the more similar the row is to a list's centroid, as exp(s / scale), and
a row has as many neighbours as any other: so a row of list j is one of them with a probability in
proportion to exp(s_j / scale) / sum over lists l of rows_l exp(s_l / scale). All lists are probed
where that reaches a bound, which is the most neighbours for a number of comparisons. Scale and
bound are read off a sample whose neighbours are known. For the same share of the neighbours that is
a fifth fewer comparisons than with one number of lists for all rows (decision 0025).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.side_by_side import alone

if TYPE_CHECKING:
    import numpy.typing as npt

    from models.indexes.layers import Layers
    from models.types import Matrix, RowIds

_SCALES: Final = (1 / 8, 1 / 6, 1 / 5, 1 / 4, 1 / 3)
"""Tried, as shares of the median distance between a row's nearest list and its sixteenth."""
_SIXTEENTH: Final = 16
_ERRORS: Final = 2.0
"""Standard errors: 97 of 100 samples then name a rule that finds as much."""


@dataclass(frozen=True, slots=True)
class ProbeRule:
    """How likely a neighbour must be in a list.

    Attributes:
        scale: the difference of similarity to two centroids that makes neighbours e times as dense.
        least: the density from which on a list is probed: `scale` times its logarithm.
        compared: how many rows a query of the sample was compared with on average.
        probes: how many lists it probed on average, at least 1.
    """

    scale: float
    least: float
    compared: float
    probes: float

    @classmethod
    def fitted(
        cls, similarities: Matrix, lengths: RowIds, homes: RowIds, share: float
    ) -> ProbeRule:
        """Return the rule that holds a share of the neighbours for the fewest comparisons.

        What is just enough for a sample is too little for half of all samples: so the rule holds
        two standard errors more.

        Args:
            similarities: (queries, lists) float32, of a sample to the centroids.
            lengths: (lists,) int64, the rows in each list.
            homes: (queries, k) int64, the lists that hold the true neighbours.
            share: of these, in (0, 1].
        """
        nearest = -np.sort(-similarities, axis=1)[:, : _SIXTEENTH + 1]
        unit = max(float(np.median(nearest[:, 0] - nearest[:, -1])), float(np.finfo("f4").eps))
        rules = (
            cls._of_scale(unit * part, similarities, lengths, homes, share) for part in _SCALES
        )
        return min(rules, key=lambda rule: rule.compared)

    @classmethod
    def _of_scale(
        cls, scale: float, similarities: Matrix, lengths: RowIds, homes: RowIds, share: float
    ) -> ProbeRule:
        held = np.take_along_axis(similarities, homes, axis=1)
        held -= _everywhere(similarities, lengths, scale)[:, None]
        found = (held >= _bound(held, share)).mean(axis=1)
        doubt = float(found.std()) / sqrt(found.size)
        rule = cls(scale, _bound(held, min(1.0, share + _ERRORS * doubt)), 0, 1)
        probed = rule.probed(similarities, lengths)
        compared, probes = float((probed @ lengths).mean()), float(probed.sum(axis=1).mean())
        return replace(rule, compared=compared, probes=probes)

    def probed(self, similarities: Matrix, lengths: RowIds) -> npt.NDArray[np.bool_]:
        """Return which lists are probed by which queries; the nearest one is in any case.

        Args:
            similarities: (queries, lists) float32, to the centroids.
            lengths: (lists,) int64, the rows in each list.

        Returns:
            (queries, lists) bool.
        """
        bound = _everywhere(similarities, lengths, self.scale) + np.float32(self.least)
        probed: npt.NDArray[np.bool_] = (
            similarities >= np.minimum(bound, similarities.max(axis=1))[:, None]
        )
        return probed


def fitted_rule(layers: Layers, ready: Matrix, rows: RowIds, share: float) -> ProbeRule | None:
    """Return the rule by which queries meet a share of some rows for the fewest comparisons.

    Args:
        layers: of a filled index.
        ready: (queries, dim) float32, prepared.
        rows: (queries, any) int64, the true neighbours.
        share: of these, in (0, 1].

    Returns:
        None where queries do not meet lists together, so that a rule is of no use.
    """
    if not layers.is_searched_by_lists:
        return None
    with alone():
        similarities = ready @ layers.centroids().T
    return ProbeRule.fitted(similarities, layers.list_lengths(), layers.homes()[rows], share)


def _everywhere(similarities: Matrix, lengths: RowIds, scale: float) -> npt.NDArray[np.float32]:
    """Return `scale` times the logarithm of the sum, over all rows, of exp(s / scale).

    A similarity less that of a query is `scale` times the logarithm of a density, which sums up to
    1 over all rows.
    """
    nearest = similarities.max(axis=1)
    densities = similarities - nearest[:, None]
    densities *= np.float32(1 / scale)
    np.exp(densities, out=densities)
    sums = densities @ lengths.astype(np.float32)
    found: npt.NDArray[np.float32] = nearest + np.float32(scale) * np.log(np.maximum(sums, 1))
    return found


def _bound(held: Matrix, share: float) -> float:
    """Return the largest bound that a share of some values reaches."""
    ranked = np.sort(held, axis=None)
    return float(ranked[min(ranked.size - 1, int((1 - share) * ranked.size))])
