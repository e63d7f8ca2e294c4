"""From vectors to a searchable index whose recall has been measured."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from models.indexes.choosing import choose_by_trial
from models.indexes.drift import Layout, layout_of
from models.indexes.filtered import QUERIES, filtered_recall
from models.indexes.plans import TUNED_K, IndexPlan, held_back, index_bytes
from models.indexes.recall import (
    GroundTruth,
    RecallEstimate,
    estimate_recall,
    ground_truth,
    measure_recall,
)
from models.indexes.rivals import rivals
from models.indexes.streams import (
    Progress,
    batch_rows,
    sample,
    sample_others,
    silent,
    take,
)
from models.indexes.tuning import USUAL, Goal, Tuned, answer, effort_ladder, tune
from models.indexes.vector_index import VectorIndex

if TYPE_CHECKING:
    from models.types import Matrix, Metric, RowIds, Vectors

RECALL_K: Final = TUNED_K

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """An index and what is known of it.

    Attributes:
        index: ready for search, its effort tuned.
        recall: recall@10 on held-back rows that neither training nor tuning has seen.
        target_recall: what tuning aimed at.
        layout: how the vectors lie in its lists; None without lists.
        filtered: recall@10 where a tenth of the rows may be found; None if unknown.
    """

    index: VectorIndex
    recall: RecallEstimate
    target_recall: float
    layout: Layout | None = None
    filtered: RecallEstimate | None = None

    @property
    def plan(self) -> IndexPlan:
        """What was built, with the tuned effort and all reasons."""
        return self.index.plan

    @property
    def index_bytes(self) -> int:
        """What it takes in memory."""
        return index_bytes(self.plan, self.index.rows, self.index.dim)

    @property
    def reaches_target(self) -> bool:
        """Whether the measured recall is not below the target beyond chance."""
        return self.recall.high >= self.target_recall


def build_index(
    vectors: Vectors,
    metric: Metric,
    plan: IndexPlan | None = None,
    seed: int = 0,
    goal: Goal = USUAL,
    progress: Progress = silent,
) -> BuiltIndex:
    """Train, fill, tune and measure an index over a stream of vectors.

    Held-back rows are drawn first, the training sample from the others. All rows are added, the
    held-back ones too: as queries their own row does not count. Memory is the index, the training
    sample and one batch. The same vectors and seed give the same index with the same
    library versions, processor and number of threads.

    Args:
        vectors: what to index; row i of the stream is row i of the index.
        metric: how nearness is measured.
        plan: what to build; None tries the `rivals` on a sample.
        seed: of all sampling and of k-means.
        goal: the recall@10 that tuning aims at, and what a query may cost.
        progress: called with "train", "add" or "measure" and the fraction done.

    Returns:
        The index with its measured recall; ask `reaches_target` of a plan of your own.

    Raises:
        InvalidVectorsError: a vector is not finite.
    """
    if plan is None:
        suited = rivals(vectors.rows, vectors.dim, metric)
        plan = choose_by_trial(vectors, metric, suited, goal, seed)
    index = trained_index(vectors, metric, plan, seed, progress)[0]
    fill(index, vectors, progress)
    progress("measure", 0.0)
    held = hold_back(vectors, index, seed)
    return measured(index, vectors, held, goal, seed, progress)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Rows that an index is not trained on, with their true neighbours.

    The same rows are held back from all inverted files over the same vectors.

    Attributes:
        tuning: queries that its effort is tuned on.
        measuring: queries that its recall is measured on, which tuning does not see.
    """

    tuning: GroundTruth
    measuring: GroundTruth


def _held_rows(index: VectorIndex, rows: int, seed: int) -> tuple[RowIds, int]:
    """Return the rows to hold back, and how many of them are for tuning."""
    tuning, measuring = held_back(rows, trained=index.plan.training_rows > 0)
    tuning = tuning if len(effort_ladder(index)) > 1 else 0
    return sample(rows, tuning + measuring, seed), tuning


def trained_index(
    vectors: Vectors, metric: Metric, plan: IndexPlan, seed: int, progress: Progress
) -> tuple[VectorIndex, Matrix]:
    """Return an index without rows, and the vectors that it was trained on, in random order."""
    index = VectorIndex.empty(vectors.dim, metric, plan)
    if plan.training_rows == 0:
        return index, np.empty((0, vectors.dim), np.float32)
    progress("train", 0.0)
    queries, _ = _held_rows(index, vectors.rows, seed)
    rows = sample_others(vectors.rows, plan.training_rows, seed + 2, queries)
    training = take(vectors, rows)
    index.train(training, seed)
    progress("train", 1.0)
    return index, training


def hold_back(vectors: Vectors, index: VectorIndex, seed: int) -> HeldBack:
    """Find the true neighbours of the rows that are held back from an index."""
    rows, tuning = _held_rows(index, vectors.rows, seed)
    truth = ground_truth(vectors, rows, RECALL_K, index.metric)
    return HeldBack(truth.part(0, tuning), truth.part(tuning))


def measured(
    index: VectorIndex, vectors: Vectors, held: HeldBack, goal: Goal, seed: int, progress: Progress
) -> BuiltIndex:
    """Tune and measure a filled index; see `build_index` for the arguments."""
    built = _tuned(index, vectors, held.tuning, goal)
    recall = _recall(built, vectors, held.measuring)
    some = held.measuring.rows[:QUERIES]
    filtered = filtered_recall(built, vectors, some, RECALL_K, seed)
    unseen = np.concatenate((held.tuning.queries, held.measuring.queries))
    progress("measure", 1.0)
    return BuiltIndex(built, recall, goal.recall, layout_of(built, unseen), filtered)


def fill(index: VectorIndex, vectors: Vectors, progress: Progress) -> None:
    """Add all vectors to a trained index."""
    for batch in vectors.batches(batch_rows(vectors.dim)):
        index.add(batch)
        progress("add", index.rows / vectors.rows)


def _tuned(index: VectorIndex, vectors: Vectors, truth: GroundTruth, goal: Goal) -> VectorIndex:
    if truth.rows.size == 0:
        return index
    found = tune(index, vectors, truth, goal)
    effort = ", ".join(f"{k} {v}" for k, v in asdict(found.parameters).items() if v is not None)
    reason = f"{effort}: tuned on {truth.rows.size} queries for recall {goal.recall}."
    tuned = index.with_parameters(found.parameters)
    tuned.plan = tuned.plan.because(reason, *_missed(found, goal))
    return tuned


def _missed(found: Tuned, goal: Goal) -> tuple[str, ...]:
    if found.recall >= goal.recall:
        return ()
    if goal.most_ns is None:
        return (f"{found.recall:.3f} is the most that any effort of this kind finds.",)
    most = goal.most_ns / 1e6
    return (f"{found.recall:.3f} is what a query of at most {most:g} ms finds: latency_ms.",)


def _recall(index: VectorIndex, vectors: Vectors, truth: GroundTruth) -> RecallEstimate:
    shares = measure_recall(vectors, truth, [answer(index, truth)], index.metric)[0]
    recall = estimate_recall(shares, truth.k)
    logger.info(
        "index measured",
        extra={"factory": index.plan.factory, "recall": recall.mean, "queries": recall.queries},
    )
    return recall
