"""Which of several index kinds suits some vectors: all are tried on a sample.

How many lists hold a query's neighbours, and how many candidates short codes must propose, is a
matter of how the vectors lie. So each kind is built over the same sample and tuned to the same
recall, and the one whose effort would cost the least at full size wins. Recall is measured and
work is counted; no clock is read, so the same vectors choose the same kind.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.plans import (
    TUNED_K,
    Coding,
    IndexKind,
    IndexPlan,
    SearchParameters,
    plan_for,
)
from models.indexes.principal import kept_axes
from models.indexes.recall import ground_truth
from models.indexes.streams import prepared, sample, take
from models.indexes.tuning import Goal, Tuned, tune
from models.indexes.vector_index import VectorIndex
from models.indexes.work import query_ns
from models.types import ArrayVectors

if TYPE_CHECKING:
    from models.types import Matrix, Metric, Vectors

TRIAL_ROWS: Final = 10_000
_TRIAL_BYTES: Final = 128 * 2**20
_QUERIES: Final = 300
_LEAST: Final = SearchParameters(nprobe=1, k_factor=1)
_WORTH: Final = 0.9
"""A kind with a store is half as large again as the codes alone: it must be this much cheaper."""
_MOST_AXES: Final = 0.5
"""Of the dimensions: a projection that keeps more of them saves too little."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A kind, and what it took on the sample.

    Attributes:
        plan: for all vectors.
        tuned: the effort that the sample asked for, priced for all vectors.
    """

    plan: IndexPlan
    tuned: Tuned

    @property
    def told(self) -> str:
        """The trial in words."""
        effort = ", ".join(
            f"{name} {value}" for name, value in asdict(self.tuned.parameters).items() if value
        )
        microseconds = self.tuned.cost_ns / 1000
        return f"{self.plan.name} {effort} recall {self.tuned.recall:.3f} {microseconds:.0f} us"


def trial_rows(rows: int, dim: int) -> int:
    """Return how many vectors a trial takes."""
    return min(rows, TRIAL_ROWS, max(_TRIAL_BYTES // (4 * max(1, dim)), TRIAL_ROWS // 5))


def choose_by_trial(
    vectors: Vectors, metric: Metric, plans: tuple[IndexPlan, ...], goal: Goal, seed: int
) -> IndexPlan:
    """Return the plan whose search would cost the least at the wanted recall.

    Args:
        vectors: what is to be indexed; one pass reads the sample.
        metric: how nearness is measured.
        plans: see `rivals`; the first one is taken where the others are hardly cheaper.
        goal: the recall to reach, and what it may cost.
        seed: of the sample and of all training.
    """
    if len(plans) == 1 and plans[0].kind is not IndexKind.PROJECTED:
        return plans[0]
    count = trial_rows(vectors.rows, vectors.dim)
    rows = take(vectors, sample(vectors.rows, count, seed))
    some = ArrayVectors(prepared(rows, vectors.dim, metric))
    axes = kept_axes(some.matrix)
    if len(plans) == 1:
        return _like(plans[0], vectors.rows, axes)
    queries = np.arange(count - min(_QUERIES, count // 20), count, dtype=np.int64)
    truth = ground_truth(some, queries, TUNED_K, metric)
    trials: list[Trial] = []
    untried: list[str] = []
    for plan in plans:
        if plan.kind is IndexKind.PROJECTED and axes.shape[0] > _MOST_AXES * vectors.dim:
            continue
        small, full = (_like(plan, n, axes) for n in (some.rows, vectors.rows))
        price = partial(query_ns, full, rows=vectors.rows, dim=vectors.dim, k=TUNED_K)
        if trials and (least := price(_LEAST)) >= _cheapest(trials, goal):
            untried.append(f"{plan.name} costs at least {least / 1000:.0f} us")
            continue
        index = VectorIndex.empty(some.dim, metric, small)
        # The queries are the last rows of the sample, which training does not see.
        index.train(some.matrix[: small.training_rows], seed, axes)
        index.add(some.matrix)
        bound = min(_cheapest(trials, goal), goal.most_ns or inf)
        aim = replace(goal, most_ns=None if bound == inf else bound)
        trials.append(Trial(full, tune(index, some, truth, aim, price)))
    told = "; ".join([*(trial.told for trial in trials), *untried])
    best = _best(trials, goal).plan
    return best.because(f"tried on {some.rows:,} vectors, counted for all: {told}.")


def _cheapest(trials: list[Trial], goal: Goal) -> float:
    """Return what the best so far costs: where others cost more they need not be searched."""
    good = [trial.tuned.cost_ns for trial in trials if trial.tuned.reaches(goal.recall)]
    return min(good, default=inf)


def _best(trials: list[Trial], goal: Goal) -> Trial:
    good = [trial for trial in trials if trial.tuned.reaches(goal.recall)]
    if not good:
        return max(trials, key=lambda trial: (trial.tuned.recall, -trial.tuned.cost_ns))
    best = min(good, key=lambda trial: trial.tuned.cost_ns)
    is_worth_it = trials[0] not in good or best.tuned.cost_ns < _WORTH * trials[0].tuned.cost_ns
    return best if is_worth_it else trials[0]


def _like(plan: IndexPlan, rows: int, axes: Matrix) -> IndexPlan:
    """Return the plan of the same kind for another number of vectors."""
    if plan.kind is None:
        raise TypeError(f"{plan.factory} is of no kind")
    coding = Coding(axes.shape[1], plan.codec, axes.shape[0], plan.parts or None)
    return plan_for(plan.kind, rows, plan.reasons[:1], coding)
