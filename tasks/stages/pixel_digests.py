"""The table `pixels`: digests of decoded pictures, of those that may be equal to another one.

Equal pixels have equal sizes and next to equal vectors, so only a picture with a near vector of its
own size is decoded whole; encoders look at large photos decoded smaller, which is several times as
fast and not the same in another container. A row depends on its picture alone: rows are committed
as they come, and spaces over the same pictures share them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.changes import append_rows
from data.id_tables import keys_of
from data.normal_forms import PIXEL_FORM, pixel_digest
from data.scans import table_batches
from data.schemas import PIXELS
from latentlake.errors import BadInputError, LakeError
from latentlake.progress import report_progress
from models.analysis.duplicates import Pairs
from models.analysis.lexical import equal_pairs
from models.indexes.results import NO_ROW
from models.types import Metric
from tasks.stages.budget import working_on
from tasks.stages.builds import BuildStep, Built, Details, build_if_changed, is_built, last_build
from tasks.stages.content_rows import drop_other_rules, pending_payloads
from tasks.stages.contents import view_first_places
from tasks.stages.pairing import stored_pairs
from tasks.stages.preparing import prepared_contents
from tasks.stages.stored_graph import stored_lists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from data.workspace import Workspace
    from latentlake.settings import Settings
    from models.types import Image, RowIds
    from tasks.stages.receipts import StageReceipt

logger = logging.getLogger(__name__)

LEAST_COSINE: Final = 0.9
"""Of vectors of equal pixels: encoders see a large JPEG decoded smaller than a PNG of it is, which
moves the features of a network by some hundredths at worst."""

_AT_ONCE: Final = 16
_PART_ROWS: Final = 256


def digest_pixels(
    lake: Lake, settings: Settings, space: SpaceRow, vectors: ShardVectors, run_id: str
) -> StageReceipt:
    """Digest the pictures that may be equal to another one and have no digest yet."""
    graph, pairs = (last_build(lake, stage, space) for stage in ("graph", "pairs"))
    inputs = {
        "graph": graph["inputs"] if graph else None,
        "pairs": pairs["inputs"] if pairs else None,
        "rules": PIXEL_FORM,
    }
    step, added = BuildStep("pixels", space, inputs), 0
    if not is_built(lake, step, vectors):
        wanted = _doubtful(lake, space, vectors)
        added = _complete(
            lake, settings, space, vectors.content_ids.filter(pa.array(wanted)), run_id
        )

    def work(_: Details | None) -> Built:
        return Built({"digested": added})

    return build_if_changed(lake, step, vectors, run_id, work)


def equal_pixels(lake: Lake, vectors: ShardVectors, most: int) -> Pairs:
    """Return the pairs of pictures with equal pixels, as far as the table has them.

    Args:
        lake: as it is committed now.
        vectors: whose contents; pairs of others are left out.
        most: how many pairs there may be.

    Raises:
        TooManyAlikeError: there are more.
    """
    rows, digests = [np.empty(0, np.int64)], [np.empty((0, 2), np.uint64)]
    for batch in table_batches(lake, "pixels", ["content_id", "digest"]):
        found = vectors.rows_of(batch["content_id"])
        rows.append(found[found != NO_ROW])
        digests.append(keys_of(batch["digest"].filter(pa.array(found != NO_ROW))))
    row, digest = np.concatenate(rows), np.concatenate(digests)
    one, other = equal_pairs(digest[:, 0], np.ones(row.size, np.bool_), most)
    same = digest[one, 1] == digest[other, 1]
    first, second = row[one[same]], row[other[same]]
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((high, low))
    return Pairs(low[order], high[order], np.ones(order.size, np.float32))


class _Digester:
    """Digests pictures; what `prepared_contents` asks of an encoder."""

    def prepare(self, item: Image) -> str:
        return pixel_digest(item)


def _doubtful(lake: Lake, space: SpaceRow, vectors: ShardVectors) -> npt.NDArray[np.bool_]:
    """Tell which pictures have another one of their size near them: (rows,) bool."""
    sizes, found = _sizes(lake, vectors), np.zeros(vectors.rows, np.bool_)
    least = LEAST_COSINE if Metric(space.id.metric) is Metric.COSINE else -np.inf
    for one, other, similarities in _near(lake, space, vectors):
        some = (sizes[one] == sizes[other]) & (similarities >= least)
        found[one[some]] = True
        found[other[some]] = True
    return found


def _near(
    lake: Lake, space: SpaceRow, vectors: ShardVectors
) -> Iterator[tuple[RowIds, RowIds, npt.NDArray[np.floating]]]:
    """Yield rows, rows near them and their similarities, from the pairs and the graph."""
    pairs = stored_pairs(lake, space.key, vectors)
    yield pairs.first, pairs.second, pairs.similarities
    try:
        for rows, lists in stored_lists(lake, space, vectors):
            there = lists.rows != NO_ROW
            own = np.broadcast_to(rows[:, None], there.shape)[there]
            yield own, lists.rows[there], lists.similarities[there]
    except LakeError:
        logger.info("space '%s' has no graph of these vectors yet: pairs alone", space.label)


def _sizes(lake: Lake, vectors: ShardVectors) -> RowIds:
    """Return width and height of each picture as one number: (rows,) int64."""
    sizes = np.zeros(vectors.rows, np.int64)
    for batch in table_batches(lake, "items", ["content_id", "width", "height"]):
        rows = vectors.rows_of(batch["content_id"])
        wide, high = (
            np.asarray(pc.fill_null(batch[name], 0), np.int64) for name in ("width", "height")
        )
        some = rows != NO_ROW
        sizes[rows[some]] = (wide << 32 | high)[some]
    return sizes


def _complete(
    lake: Lake, settings: Settings, space: SpaceRow, wanted: pa.Array, run_id: str
) -> int:
    drop_other_rules(lake, settings, "pixels", PIXEL_FORM, run_id)
    with working_on(lake, settings, f"pixels-{space.id.name}") as work:
        work.view_table(lake, "pixels")
        pq.write_table(pa.table({"content_id": wanted}), work.folder / "wanted.parquet")
        work.view_files("wanted", [str(work.folder / "wanted.parquet")], ["content_id"])
        view_first_places(work, lake, settings.space(space.id.name).sources)
        work.execute(
            "CREATE TABLE pending AS FROM first_places SEMI JOIN (SELECT content_id FROM wanted) "
            "USING (content_id) "
            "ANTI JOIN (SELECT content_id FROM pixels) USING (content_id)"
        )
        rows = _rows(settings, work, f"duplicates {space.label}: pixels")
        return append_rows(lake, "pixels", rows, run_id)


def _rows(settings: Settings, work: Workspace, stage: str) -> Iterator[pa.Table]:
    total, held = work.count("pending"), []
    contents = prepared_contents(_Digester(), settings, pending_payloads(settings, work), _AT_ONCE)
    for done, (ref, made) in enumerate(contents, 1):
        if isinstance(made, BadInputError):
            logger.warning("%s", made)
        else:
            held.append({"content_id": ref.content_id, "rules": PIXEL_FORM, "digest": made})
        if done % _PART_ROWS == 0 or done == total:
            report_progress(stage, done, total, "photos")
            if held:
                yield pa.Table.from_pylist(held, schema=PIXELS.columns)
            held = []
