"""Words that tell a cluster from the others, for the summary that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from tasks.stages.spaces import active_items

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings

TERMS = 5
_WORDS = r"(?u)\b[^\W\d_]{3,}\b"


def cluster_terms(
    lake: Lake,
    settings: Settings,
    space: SpaceRow,
    vectors: ShardVectors,
    cluster_of: npt.NDArray[np.int64],
) -> list[list[str]]:
    """Return the terms of each cluster, the most telling first.

    Terms are ranked by class-based TF-IDF (Grootendorst 2022, BERTopic: the term's frequency in the
    cluster times log(1 + average words a cluster / frequency over all)). They come from the items'
    excerpts where the space is of text, and from the names of their folders elsewhere.

    Args:
        lake: where the items are.
        settings: which sources the space has.
        space: the space.
        vectors: its rows.
        cluster_of: (rows,) the cluster of each row, from 0 on.
    """
    column = "excerpt" if space.modality == "text" else "uri"
    items = active_items(lake, settings.space(space.id.name).sources, ["content_id", column])
    rows = pc.index_in(items["content_id"].combine_chunks(), value_set=vectors.content_ids)
    words: list[list[str]] = [[] for _ in range(int(cluster_of.max(initial=-1)) + 1)]
    for row, text in zip(rows.to_pylist(), items[column].to_pylist(), strict=True):
        if row is not None and text:
            spoken = text if space.modality == "text" else text.rpartition("/")[0]
            words[cluster_of[row]].append(spoken)
    return _telling([" ".join(parts) for parts in words])


def _telling(documents: list[str]) -> list[list[str]]:
    from sklearn.feature_extraction.text import CountVectorizer

    try:
        counter = CountVectorizer(token_pattern=_WORDS, stop_words="english")
        counts = counter.fit_transform(documents).tocsr()
    except ValueError:  # not one word in all documents
        return [[] for _ in documents]
    names = counter.get_feature_names_out()
    totals = np.asarray(counts.sum(axis=0)).ravel()
    weights = np.log1p(counts.sum() / max(1, counts.shape[0]) / totals)
    scores = counts.multiply(weights).tocsr()
    terms = []
    for row in range(scores.shape[0]):
        part = scores.getrow(row)
        best = np.argsort(-part.data, kind="stable")[:TERMS]
        terms.append([str(names[part.indices[i]]) for i in best])
    return terms
