"""Fit a linear head in one pass over a sample: mean, principal components, and what they lose.

Principal components are the eigenvectors of the covariance (Hotelling 1933). Mean and covariance
are merged batch by batch in float64 (Chan, Golub and LeVeque 1979), so memory is that of a few
matrices (dim, dim), however large the sample. Without centring the moments are taken about zero,
which is a truncated singular value decomposition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from latentlake.errors import ConfigError
from models.encoders.head import Float64, Head, HeadManifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models.types import Matrix

HOLD_BACK: Final = 10
"""Every tenth row of the sample is held back."""

VARIANCE_FLOOR: Final = 1e-6
"""Of the largest variance: whitening scales a component with less by the root of this share,
because the rounding of float32 would be all that it blows up."""

BLOCK: Final = 1024
"""Rows that are added at once, whatever sizes the batches have."""

MATRICES: Final = 6
"""How many (dim, dim) float64 are held at most: two moments, and what the eigensolver copies."""


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """What a head is to do, in this order.

    Attributes:
        centre: take the mean off.
        pca: project on so many principal components; None projects nothing.
        whiten: scale the components to variance 1.
        normalise: scale rows to length 1.
    """

    centre: bool
    pca: int | None = None
    whiten: bool = False
    normalise: bool = False

    @property
    def needs_sample(self) -> bool:
        """Whether anything is fitted."""
        return self.centre or self.pca is not None


class Moments:
    """Count, mean and scatter (sum of squares and products about the mean) of rows."""

    def __init__(self, dim: int) -> None:
        self.rows = 0
        self.mean: Float64 = np.zeros(dim)
        self._scatter: Float64 = np.zeros((dim, dim))

    def add(self, vectors: Float64) -> None:
        """Add rows, (rows, dim)."""
        count = len(vectors)
        if count == 0:
            return
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        total, step = self.rows + count, mean - self.mean
        self._scatter += centred.T @ centred
        self._scatter += np.outer(step, step) * (self.rows * count / total)
        self.mean = self.mean + step * (count / total)
        self.rows = total

    def about(self, origin: Float64) -> Float64:
        """Return the sum of squares and products about another point, (dim, dim)."""
        step = self.mean - origin
        return self._scatter + self.rows * np.outer(step, step)


def fit_head(batches: Iterable[Matrix], dim: int, plan: HeadPlan) -> Head:
    """Fit a head.

    Args:
        batches: the sample, (rows, dim) float32 each; their order decides which rows are held back.
        dim: the length of the vectors.
        plan: what the head is to do.

    Raises:
        ConfigError: more components than dimensions or than rows of the sample.
    """
    if plan.pca is not None and plan.pca > dim:
        raise ConfigError(
            f"reduce.pca = {plan.pca}, but the encoder's vectors have only {dim} dimensions: "
            f"set at most {dim}."
        )
    fitted, held = _moments(batches, dim, plan)
    manifest = HeadManifest(
        input_dim=dim,
        dim=plan.pca or dim,
        centre=plan.centre,
        pca=plan.pca,
        whiten=plan.whiten,
        normalise=plan.normalise,
        fitted=fitted.rows,
        held_back=held.rows,
    )
    origin = fitted.mean if plan.centre else None
    if plan.pca is None:
        return Head(origin, None, manifest)
    return _projected(fitted, held, plan, manifest)


def _moments(batches: Iterable[Matrix], dim: int, plan: HeadPlan) -> tuple[Moments, Moments]:
    fitted, held = Moments(dim), Moments(dim if plan.pca is not None else 0)
    start = 0
    for block in _blocks(batches) if plan.needs_sample else ():
        rows = block.astype(np.float64)
        is_held = (np.arange(start, start + len(rows)) % HOLD_BACK) == HOLD_BACK - 1
        start += len(rows)
        if plan.pca is None:
            fitted.add(rows)
        else:
            fitted.add(rows[~is_held])
            held.add(rows[is_held])
    least = (plan.pca or 0) + plan.centre
    if fitted.rows < least:
        raise ConfigError(
            f"reduce.pca = {plan.pca} needs at least {least} vectors to be fitted on, there are "
            f"{fitted.rows} (and {held.rows} held back): lower it, raise reduce.sample, or wait "
            "until the sources hold more."
            if plan.pca
            else "there is no vector yet whose mean could be taken off."
        )
    return fitted, held


def _blocks(batches: Iterable[Matrix]) -> Iterator[Matrix]:
    waiting: list[Matrix] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        while count >= BLOCK:
            rows = np.concatenate(waiting)
            yield rows[:BLOCK]
            waiting, count = [rows[BLOCK:]], count - BLOCK
    if count:
        yield np.concatenate(waiting)


def _projected(fitted: Moments, held: Moments, plan: HeadPlan, manifest: HeadManifest) -> Head:
    origin = fitted.mean if plan.centre else np.zeros_like(fitted.mean)
    scatter = fitted.about(origin)
    squares, components = np.linalg.eigh(scatter)  # ascending
    squares = np.maximum(squares[::-1], 0.0)
    components = _with_signs(components[:, ::-1][:, : plan.pca])
    total = float(squares.sum())
    kept = float(squares[: plan.pca].sum()) / total if total else 1.0
    variances = squares[: plan.pca] / max(1, fitted.rows - plan.centre)
    floor = VARIANCE_FLOOR * float(variances[0])
    floored = int((variances < floor).sum()) if plan.whiten else 0
    projection = components
    if plan.whiten and floor > 0:
        projection = components / np.sqrt(np.maximum(variances, floor))
    found = {"kept": kept, "lost": _lost(held, origin, components), "floored": floored}
    return Head(
        fitted.mean if plan.centre else None,
        np.ascontiguousarray(projection),
        manifest.model_copy(update=found),
    )


def _lost(held: Moments, origin: Float64, components: Float64) -> float | None:
    """Return sum |x - x'|^2 / sum |x|^2 about the origin, x' being x projected and put back."""
    scatter = held.about(origin)
    total = float(np.trace(scatter))
    if held.rows == 0 or total == 0:
        return None
    kept = float(np.sum((scatter @ components) * components))
    return max(0.0, 1.0 - kept / total)


def _with_signs(components: Float64) -> Float64:
    """Make the largest entry of each column positive: an eigenvector's sign is otherwise chance."""
    largest = np.abs(components).argmax(axis=0)
    signs = np.sign(components[largest, np.arange(components.shape[1])])
    signed: Float64 = components * np.where(signs == 0, 1.0, signs)
    return signed
