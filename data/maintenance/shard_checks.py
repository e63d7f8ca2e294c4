"""Checks of a space's shards: every byte, and every promise of name, footer and table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data.content import digest_of_ids
from data.maintenance.findings import MEND, RUN, DropShard, Finding
from data.schemas import embedding_schema
from data.seals import is_sealed
from data.shards import read_footer
from data.stores import readable, store_of
from data.vectors import vectors_of
from latentlake.errors import LakeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.lake import Lake, Snapshot
    from data.shards import SpaceId

_ENCODE_AGAIN = f"{MEND} drops it, then {RUN} encodes its contents again."
_NORM_TOLERANCE = 1e-4
"""Relative; float32 sums over thousands of dimensions differ by less between processors."""


def check_shards(lake: Lake, space: SpaceId, snapshot: Snapshot) -> Iterator[Finding]:
    """Look at every shard that a snapshot has of a space.

    One shard is held in memory at a time, besides the content ids.
    """
    if space.folder not in snapshot.versions:
        return
    table = lake.delta(space.folder, snapshot.versions[space.folder])
    if table is None:
        return
    actions = pa.table(table.get_add_actions(flatten=True))
    seen: list[pa.ChunkedArray] = []
    for name, rows in zip(
        actions["path"].to_pylist(), actions["num_records"].to_pylist(), strict=True
    ):
        path = lake.store.address(f"{space.folder}/{name}")
        problem = _problem(path, space, rows)
        if problem is not None:
            subject = f"{space.folder}/{name}"
            yield Finding(subject, problem, _ENCODE_AGAIN, DropShard(space.folder, name))
        else:
            seen.append(pq.read_table(readable(path), columns=["content_id"])["content_id"])
    ids = pa.chunked_array([chunk for column in seen for chunk in column.chunks], pa.string())
    twice = len(ids) - pc.count_distinct(ids).as_py()
    if twice:
        yield Finding(
            f"space {space.name}",
            f"{twice} contents stand in more than one shard",
            "two runs raced; readers take the first: 'latentlake compact' folds them.",
        )


def _problem(path: str, space: SpaceId, rows: int) -> str | None:
    """Return what is wrong with a shard, the deepest reason first, or None."""
    store, name = store_of(path)
    if store.size(name) is None:
        return "the file is missing"
    try:
        footer = read_footer(path)
        wrong = _footer_problem(footer, space)
        if wrong is not None:
            return wrong
        if not is_sealed(path):
            return "the seal is broken: a byte of the file has changed since it was written"
        return _rows_problem(pq.read_table(readable(path)), footer, space, rows)
    except LakeError as error:
        return str(error).removeprefix(f"{path}: ")
    except (pa.ArrowException, OSError, KeyError) as error:
        return f"cannot be read: {error}"


def _footer_problem(footer: dict[str, Any], space: SpaceId) -> str | None:
    promised = {
        "space": space.name,
        "fingerprint": space.fingerprint,
        "dim": space.dim,
        "metric": space.metric,
    }
    for name, expected in promised.items():
        if footer.get(name) != expected:
            return f"its footer says {name} {footer.get(name)!r}, the space has {expected!r}"
    return None


def _rows_problem(table: pa.Table, footer: dict[str, Any], space: SpaceId, rows: int) -> str | None:
    if not table.schema.equals(embedding_schema(space.dim)):
        return "its columns are not those of embeddings"
    if table.num_rows != rows:
        return f"{table.num_rows} rows, the table's log says {rows}"
    if digest_of_ids(table["content_id"].to_pylist()) != footer["content_digest"]:
        return "its content ids do not have the digest that its footer says"
    vectors = vectors_of(table["vector"], space.dim)
    if not np.isfinite(vectors).all():
        return "vectors are not finite"
    norms = table["norm"].to_numpy()
    if not np.allclose(np.linalg.norm(vectors, axis=1), norms, rtol=_NORM_TOLERANCE, atol=1e-12):
        return "norms are not those of the vectors"
    return None
