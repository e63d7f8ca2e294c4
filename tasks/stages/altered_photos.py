"""What photos and their altered copies score where pairs are decided on the pixels.

The score is that of `models.analysis.evidence`, with the background of the real contents: a copy is
held against what it would have as neighbours if it were in the lake.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from latentlake.errors import BadInputError
from latentlake.progress import report_progress
from models.analysis.augmentations import IMAGES, altered_image
from models.analysis.evidence import BACKGROUND_RANKS, backgrounds, excess, scores
from models.analysis.local_features import gradient_correlation, local_features, shared_inliers
from models.indexes.exact import exact_search, pair_similarities
from models.indexes.streams import prepared, take
from models.types import Metric
from tasks.stages.altered import first_places, lots_of
from tasks.stages.contents import ContentReader, item_of
from tasks.stages.features import one_thread_each
from tasks.stages.stored_graph import stored_lists

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from latentlake.settings import Settings
    from tasks.stages.altered import Altered
    from tasks.stages.contents import ContentRef, Load

    Floats = npt.NDArray[np.float64]
    Evidence = dict[tuple[str, str], tuple[int, float]]


def photo_background(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> npt.NDArray[np.float32]:
    """Return the background of all contents, (rows,) float32, from the stored graph."""
    found = np.empty(vectors.rows, np.float32)
    for rows, lists in stored_lists(lake, space, vectors):
        found[rows] = backgrounds(lists)
    return found


def photo_copy_scores(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, altered: Altered
) -> Floats:
    """Return the scores of altered copies with their originals, (copies,) float64.

    Args:
        lake: with the stored graph.
        settings: of the sources, and how wide to work.
        space: of photos that are verified.
        vectors: the real contents.
        altered: the copies; `contents` names their originals.
    """
    metric = Metric(space.id.metric)
    rows = vectors.rows_of(altered.contents)
    own, copies = take(vectors, rows), prepared(altered.vectors, vectors.dim, metric)
    cosines = pair_similarities(
        prepared(own, vectors.dim, metric)[altered.originals], copies, metric
    )
    lists = exact_search(vectors, altered.vectors, BACKGROUND_RANKS.stop, metric)
    background = np.concatenate((photo_background(lake, space, vectors)[rows], backgrounds(lists)))
    second = np.arange(rows.size, rows.size + altered.count, dtype=np.int64)
    beyond = excess(cosines.astype(np.float32), background, altered.originals, second)
    seen = _evidence(lake, settings, space, altered.contents)
    names = altered.contents.take(altered.originals).to_pylist()
    looked = [seen.get(key, (0, np.nan)) for key in zip(names, altered.ways, strict=True)]
    inliers = np.array([one for one, _ in looked], np.int32)
    correlations = np.array([other for _, other in looked], np.float32)
    return scores(beyond, inliers, correlations).astype(np.float64)


def _evidence(lake: Lake, settings: Settings, space: SpaceRow, contents: pa.Array) -> Evidence:
    """Compare the pixels of contents with those of their altered copies: inliers, correlation."""
    refs = first_places(lake, settings.space(space.id.name).sources, contents)
    look = partial(_look, settings.run.seed)
    found: Evidence = {}
    loads = ContentReader(settings).payloads(refs)
    with one_thread_each(), ThreadPoolExecutor(settings.run.thread_count) as pool:
        for done, part in enumerate(pool.map(look, *zip(*loads, strict=True)), 1):
            found |= part
            report_progress(f"calibrate {space.label}: pixels", done, len(refs), "photos")
    return found


def _look(seed: int, ref: ContentRef, load: Load) -> Evidence:
    found: Evidence = {}
    try:
        pixels = item_of(load())
        own = local_features(pixels)
        for way in IMAGES:
            copy = item_of(altered_image(pixels, way, lots_of(seed, ref.content_id, way)))
            other = local_features(copy)
            correlation = gradient_correlation(own, other)
            slopes = np.nan if correlation is None else correlation
            found[ref.content_id, way] = shared_inliers(own, other), slopes
    except BadInputError:  # gone since: it has no copy either
        return {}
    return found
