"""When an index that has grown is trained anew, and how its recall is measured again for little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.indexes.recall import RecallEstimate, estimate_recall, ground_truth, measure_recall
from models.indexes.streams import sample

if TYPE_CHECKING:
    from models.indexes.plans import IndexPlan
    from models.indexes.row_view import Searchable
    from models.types import Metric, Vectors

MOST_GROWTH: Final = 1.5
"""Lists were laid out for the rows of the training; half as many more fill them unevenly."""
MOST_DEAD: Final = 0.3
"""Dead rows cost memory, and every search passes them over."""
MOST_UNMEASURED: Final = 0.1
"""With more rows come or gone since, the recall of an index or a graph is measured again. Measuring
takes passes over all vectors, so each batch would pay for the whole corpus."""
RECALL_QUERIES: Final = 250
"""A quarter of what a new index is measured with: three passes over the vectors, few products."""


@dataclass(frozen=True, slots=True)
class Growth:
    """An index that is about to take a batch.

    Attributes:
        plan: what it was built by.
        trained_rows: how many vectors there were when it was trained.
        held: rows inside, dead ones included, before the batch.
        alive: those of them that still count.
        added: rows of the batch.
    """

    plan: IndexPlan
    trained_rows: int
    held: int
    alive: int
    added: int


def reason_to_retrain(growth: Growth, wanted: tuple[IndexPlan, ...]) -> str | None:
    """Return why an index should be built anew rather than extended; None where it should not.

    Args:
        growth: the index and the batch.
        wanted: the plans that suit what there will be.
    """
    rows = growth.alive + growth.added
    dead = growth.held - growth.alive
    total = growth.held + growth.added
    if (growth.plan.kind, growth.plan.codec) not in {(plan.kind, plan.codec) for plan in wanted}:
        return f"{rows:,} vectors ask for {wanted[0].factory}, not {growth.plan.factory}"
    if dead > MOST_DEAD * total:
        return f"{dead:,} of {total:,} rows are dead, more than {MOST_DEAD:.0%}"
    if growth.plan.training_rows and rows > MOST_GROWTH * growth.trained_rows:
        return (
            f"{rows:,} vectors, more than {MOST_GROWTH} times the {growth.trained_rows:,} "
            "it was trained for"
        )
    return None


def remeasure(
    index: Searchable, vectors: Vectors, metric: Metric, k: int, seed: int
) -> RecallEstimate:
    """Measure recall@k on a few hundred rows, in three passes over the vectors.

    The rows are drawn from all, so some have been seen by the training.

    Args:
        index: over the vectors, in their row order.
        vectors: what it holds.
        metric: how nearness is measured.
        k: how many neighbours to ask for.
        seed: of the choice of rows.
    """
    truth = ground_truth(vectors, sample(vectors.rows, RECALL_QUERIES, seed), k, metric)
    found = index.search(truth.queries, truth.k + 1).without(truth.rows)
    return estimate_recall(measure_recall(vectors, truth, [found], metric)[0], truth.k)
