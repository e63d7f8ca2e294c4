"""An index that reaches its target: one whose short codes cannot is built anew without them.

A trial sees a sample. Among all vectors a neighbour may have hundreds of near-copies more, which
short codes cannot tell apart, so that it is not among the candidates however many lists are probed.
Lists that hold the vectors themselves find whatever the same codes would decide for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.indexes.build import build_index, fill, hold_back, measured, trained_index
from models.indexes.choosing import choose_by_trial
from models.indexes.rehearsal import rehearse
from models.indexes.streams import Progress, silent

if TYPE_CHECKING:
    from models.indexes.build import BuiltIndex
    from models.indexes.plans import IndexPlan
    from models.indexes.tuning import Goal
    from models.types import Metric, Vectors

ROWS_A_QUERY: Final = 400
"""Of a rehearsal, so that it costs a tenth of what filling does."""


def build_reaching(
    vectors: Vectors,
    metric: Metric,
    plans: tuple[IndexPlan, ...],
    goal: Goal,
    seed: int,
    progress: Progress = silent,
) -> BuiltIndex:
    """Choose an index by trial, build it, and build the plain one where short codes fall short.

    A bound on the cost excuses a miss: the plain one costs more.

    Args:
        vectors: what to index.
        metric: how nearness is measured.
        plans: see `rivals`; a plain one, if there is one, is the first.
        goal: the recall to reach, and what a query may cost.
        seed: of all sampling and training.
        progress: see `build_index`.

    Raises:
        InvalidVectorsError: a vector is not finite.
    """
    plan = choose_by_trial(vectors, metric, plans, goal, seed)
    return build_or_plain(vectors, metric, (plan, plans[0]), goal, seed, progress)


def build_or_plain(
    vectors: Vectors,
    metric: Metric,
    plans: tuple[IndexPlan, IndexPlan],
    goal: Goal,
    seed: int,
    progress: Progress = silent,
) -> BuiltIndex:
    """Build the first plan, or the second where the first misses the recall by its short codes.

    What the codes can find is told before they are filled; what they found, after.
    """
    plan, plain = plans
    has_store = plan.kind is not None and plan.kind.has_store
    may_be_plain = plain.kind is not None and not plain.kind.has_store
    if not (has_store and may_be_plain) or goal.most_ns is not None:
        return build_index(vectors, metric, plan, seed, goal, progress)
    index, training = trained_index(vectors, metric, plan, seed, progress)
    held = hold_back(vectors, index, seed)
    some = held.tuning.part(0, vectors.rows // ROWS_A_QUERY)
    found = rehearse(index, vectors, training, some)
    del training  # room for the rows
    if found.high >= goal.recall:
        fill(index, vectors, progress)
        built = measured(index, vectors, held, goal, seed, progress)
        if built.reaches_target:
            return built
        found = built.recall
        del built
    del index  # two of them need not fit
    why = (
        f"{plan.name} found {found.mean:.3f} at the most: its codes do not tell the nearest apart."
    )
    index = trained_index(vectors, metric, plain.because(why), seed, progress)[0]
    fill(index, vectors, progress)
    return measured(index, vectors, held, goal, seed, progress)
