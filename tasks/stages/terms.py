"""Words that tell a cluster from the others, for the summary that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data.id_tables import IdTable, keys_of
from data.scans import table_batches

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from models.analysis.clusters import Clusters

TERMS = 5
TERM_CONTENTS = 1000
"""Of a cluster: words of more of them would hardly change its terms, and all take much memory."""
_WORDS = r"(?u)\b[^\W\d_]{3,}\b"


def cluster_terms(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, found: Clusters
) -> list[list[str]]:
    """Return the terms of each cluster, the most telling first.

    Terms are ranked by class-based TF-IDF (Grootendorst 2022, BERTopic: the term's frequency in the
    cluster times log(1 + average words a cluster / frequency over all)). They come from the items'
    excerpts where the space is of text, and from the names of their folders elsewhere; from those
    of the `TERM_CONTENTS` contents nearest to each centroid.

    Args:
        lake: where the items are.
        settings: which sources the space has.
        space: the space.
        vectors: its rows.
        found: the clusters of these rows.
    """
    column = "excerpt" if space.modality == "text" else "uri"
    sources = pa.array(settings.space(space.id.name).sources, pa.string())
    spoken_for = _nearest(found)
    table = IdTable(keys_of(vectors.content_ids.take(pa.array(spoken_for))))
    words: list[list[str]] = [[] for _ in range(found.count)]
    columns = ["content_id", column, "source", "deleted"]
    for batch in table_batches(lake, "items", columns, ("source", sources)):
        live = batch.filter(pc.invert(batch["deleted"]))
        at = table.positions(live["content_id"])
        chosen = live[column].take(pa.array(np.flatnonzero(at >= 0))).to_pylist()
        clusters = found.cluster_of[spoken_for[at[at >= 0]]].tolist()
        for cluster, text in zip(clusters, chosen, strict=True):
            if text:
                spoken = text if space.modality == "text" else text.rpartition("/")[0]
                words[cluster].append(spoken)
    return _telling([" ".join(parts) for parts in words])


def _nearest(found: Clusters) -> npt.NDArray[np.int64]:
    """Return the rows that speak for their clusters: the nearest ones to each centroid."""
    order = np.lexsort((found.distances, found.cluster_of))
    starts = np.cumsum(found.sizes) - found.sizes
    place = np.arange(order.size) - np.repeat(starts, found.sizes)
    nearest: npt.NDArray[np.int64] = order[place < TERM_CONTENTS]
    return nearest


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
