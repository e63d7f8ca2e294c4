"""The table `lexical_pairs`: which texts share their wording, kept up to date by what is new.

Bands of the MinHash signatures propose pairs, the word triples themselves decide. Both are read
from the table `wordings`, so an old text is never read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.result_schemas import LEXICAL_PAIRS
from data.space_files import numbered_ids
from models.analysis.duplicates import Pairs
from models.analysis.lexical_pairs import LEXICAL_KINDS, LexicalPairs, joined_lexical
from models.indexes.results import NO_ROW
from tasks.stages.budget import budget_of
from tasks.stages.builds import BuildStep, Built, Details, build_if_changed, is_built
from tasks.stages.covered import Covered
from tasks.stages.lexical_comparing import TextComparison
from tasks.stages.needs import wordings_need
from tasks.stages.pairing import read_pairs
from tasks.stages.wordings import RULES, complete_wordings

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from tasks.stages.receipts import StageReceipt


def lexical_threshold(settings: Settings, space: SpaceRow) -> float | None:
    """Return the least Jaccard index of texts that repeat each other; None for no comparison."""
    threshold = settings.space(space.id.name).duplicates.lexical
    return threshold if space.modality == "text" and threshold is not False else None


def pair_texts(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    """Bring the space's lexical pairs up to date.

    Only texts that were not there last time are compared with all: the table `lexical_paired`
    knows which those are. A pair of a content that has gone goes with it.

    Raises:
        ConfigError: the comparison needs more than `limits.memory`.
    """
    threshold = lexical_threshold(settings, space)
    step = BuildStep("lexical", space, {"threshold": threshold, "rules": RULES})
    budget = budget_of(settings)

    def work(last: Details | None) -> Built:
        if threshold is None:
            _store(lake, space, vectors, joined_lexical([]), run_id)
            covered = Covered.read(lake, "lexical_paired", space, vectors, anew=True)
            covered.replace(lake, vectors, covered.rows, run_id)
            return Built({"pairs": 0})
        budget.require(
            f"lexical duplicates of space '{space.label}'", wordings_need(vectors, budget.compared)
        )
        comparison = TextComparison(lake, space, vectors, budget, threshold)
        covered = Covered.read(lake, "lexical_paired", space, vectors, anew=last is None)
        fresh = comparison.present & ~covered.rows
        old = [] if last is None else [stored_lexical(lake, space, vectors)]
        found = joined_lexical([*old, comparison.pairs(fresh)])
        _store(lake, space, vectors, found, run_id)
        covered.replace(lake, vectors, comparison.present, run_id)
        details = {"threshold": threshold, "searched": int(fresh.sum())}
        return Built({"pairs": found.pairs.count}, details)

    if threshold is not None and not is_built(lake, step, vectors):
        complete_wordings(lake, settings, space, run_id)
    return build_if_changed(lake, step, vectors, run_id, work)


def stored_lexical(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> LexicalPairs:
    """Return the stored pairs of contents that are both in use, in no order."""
    parts = []
    for first, second, batch in read_pairs(lake, "lexical_pairs", space.key, vectors):
        alive = (first != NO_ROW) & (second != NO_ROW)
        low, high = np.minimum(first, second)[alive], np.maximum(first, second)[alive]
        kinds = pc.index_in(batch["kind"], value_set=pa.array(LEXICAL_KINDS)).to_numpy()
        pairs = Pairs(low, high, batch["similarity"].to_numpy()[alive])
        parts.append(LexicalPairs(pairs, kinds[alive].astype(np.int8)))
    return joined_lexical(parts)


def _store(
    lake: Lake, space: SpaceRow, vectors: ShardVectors, found: LexicalPairs, run_id: str
) -> None:
    pairs, ids = found.pairs, vectors.content_ids
    columns = [
        numbered_ids(pairs.first, ids),
        numbered_ids(pairs.second, ids),
        pa.array(LEXICAL_KINDS).take(pa.array(found.kinds)),
        pa.array(pairs.similarities, pa.float32()),
    ]
    rows = pa.Table.from_arrays(columns, LEXICAL_PAIRS.columns.names[1:])
    lake.replace_space("lexical_pairs", space.key, rows, run_id)
