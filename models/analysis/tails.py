"""How fast pairs that are no duplicates grow rare, the nearer they are: a tail over bins.

Near a point the number of others within a distance grows with a power of it, the intrinsic
dimension (Levina & Bickel 2004), so on a logarithmic axis of distances their density falls
exponentially. Farther out, where most of a sample lies, it grows more slowly than that, and
bends down towards the nearest: of abstracts' vectors from 3.3 to 6.5 a unit between the first
twenty thousand pairs and the last five. A straight line through the many says of the few that
they are more than they are. So the tail bends as far as there are pairs to tell by, and goes on
straight from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    Floats = npt.NDArray[np.float64]

_STEPS: Final = 50
_HALVINGS: Final = 30
_SETTLED: Final = 1e-9
_TOLD_BY: Final = 20.0
"""Pairs that lie beyond a place, if the slope there is to be told."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A density exp(-(slope x + bend x^2)) over bins, both factors at least 0.

    Attributes:
        slope: at the first place, a unit of the places.
        bend: half of what the slope grows by in a unit.
    """

    slope: float
    bend: float = 0.0

    def over(self, places: Floats, weight: float) -> Floats:
        """Return the share of each bin, (bins,) float64, straight where few pairs are expected.

        Args:
            places: (bins,) of the bins' middles, ascending from about 0 to about 1.
            weight: how many pairs there are in all.
        """
        whole = self._bent(places)
        beyond = weight * np.cumsum(whole[::-1])[::-1]
        last = int(np.flatnonzero(beyond >= min(_TOLD_BY, beyond[0]))[-1])
        steepness = self.slope + 2 * self.bend * places[last]
        falling = -(self.slope * places + self.bend * np.square(places))
        falling[last:] = falling[last] - steepness * (places[last:] - places[last])
        return _normalised(falling)

    def fitted(self, weights: Floats, places: Floats) -> Tail:
        """Return the tail that is likeliest given weighted bins, found by Newton's method.

        The likelihood of slope and bend is concave: their mean place and mean square are what has
        to agree. Where one of the two would be below 0 it is 0.
        """
        total = weights.sum()
        if total <= 0:
            return self
        powers = np.stack([places, np.square(places)])
        wanted = powers @ (weights / total)
        found = np.array([self.slope, self.bend])
        value = _loss(found, powers, wanted)
        for _ in range(_STEPS):
            step = _newton_step(found, powers, wanted)
            for _ in range(_HALVINGS):
                tried = np.maximum(found + step, 0.0)
                fresh = _loss(tried, powers, wanted)
                if fresh <= value:
                    break
                step = step / 2
            else:
                break
            settled = value - fresh < _SETTLED
            found, value = tried, fresh
            if settled:
                break
        return Tail(float(found[0]), float(found[1]))

    def _bent(self, places: Floats) -> Floats:
        return _normalised(-(self.slope * places + self.bend * np.square(places)))


def _newton_step(found: Floats, powers: Floats, wanted: Floats) -> Floats:
    """Return the step; a factor that is 0 and would fall below stays."""
    density = _normalised(-(found @ powers))
    means = powers @ density
    spread = (powers * density) @ powers.T - np.outer(means, means) + 1e-12 * np.eye(2)
    uphill = means - wanted
    free = (found > 0) | (uphill > 0)
    step = np.zeros(2)
    step[free] = np.linalg.solve(spread[np.ix_(free, free)], uphill[free])
    return step


def _loss(factors: Floats, powers: Floats, wanted: Floats) -> float:
    falling = -(factors @ powers)
    top = float(falling.max())
    return float(factors @ wanted) + top + float(np.log(np.exp(falling - top).sum()))


def _normalised(logarithms: Floats) -> Floats:
    density = np.exp(logarithms - logarithms.max())
    normal: Floats = density / density.sum()
    return normal
