"""The words of an encoder as a space of their own: `<space>_vocabulary`.

A word's content is the word's text, and it is no item: what counts in such a space stands in the
table `vocabulary`. It is made with the encoder's model and stays until the model changes.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import SpaceRow, active_contents, current_spaces
from data.content import content_id, digest_of_ids
from data.lake import Lake, table_of
from data.schemas import TABLES
from data.shards import (
    ShardReceipt,
    embedded_ids,
    finished_shard,
    register_shards,
    shard_name,
    shard_paths,
    write_shard,
)
from data.undo import whole_or_undone
from latentlake.errors import ConfigError
from models.encoders.registry import find_encoder
from tasks.stages.receipts import StageReceipt
from tasks.stages.spaces import live_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from latentlake.settings import Settings
    from models.encoders.word_vectors_io import WordVectors
    from models.types import RowIds


def update_vocabulary(
    lake: Lake, settings: Settings, space: SpaceRow, run_id: str
) -> StageReceipt | None:
    """Make the space of an encoder's words, make it anew for another model, or drop it.

    Args:
        lake: where the space is.
        settings: whether its words are wanted.
        space: the space of texts, as of now.
        run_id: recorded in commits.

    Returns:
        None where nothing was to do.

    Raises:
        ConfigError: a space of that name is configured, too.
    """
    began = time.monotonic()
    configured = settings.space(space.id.name)
    name = configured.vocabulary_name
    held = current_spaces(lake).get(name)
    if not (configured.vocabulary and find_encoder(space.encoder).has_words):
        if held is None or not held.is_vocabulary:
            return None
        _drop(lake, held, run_id)
        counts = {"dropped": 1}
    else:
        if name in {other.name for other in settings.spaces}:
            raise ConfigError(
                f"space '{space.id.name}' makes a space '{name}' of its words, and one of that "
                "name is configured: rename that one, or set vocabulary = false."
            )
        fingerprint = digest_of_ids(["vocabulary", space.id.fingerprint])[:16]
        wanted = replace(space, id=replace(space.id, name=name, fingerprint=fingerprint))
        wanted = replace(wanted, modality="word")
        if held == wanted and _is_whole(lake, wanted):
            return None
        counts = _make(lake, settings, space, wanted, run_id)
    return StageReceipt("embed", name, True, counts, time.monotonic() - began)  # noqa: FBT003


def _is_whole(lake: Lake, space: SpaceRow) -> bool:
    """Whether all words have their vectors: a damaged shard may have been dropped."""
    words = active_contents(lake, space)
    held = embedded_ids(shard_paths(lake, space.id)).combine_chunks()
    return len(words) > 0 and bool(pc.all(pc.is_in(words, value_set=held)).as_py())


def _make(
    lake: Lake, settings: Settings, space: SpaceRow, wanted: SpaceRow, run_id: str
) -> dict[str, int]:
    """Write the shards that are missing, then commit words, shards and space together."""
    encoder: Any = live_encoder(lake, settings, space)
    words: WordVectors = encoder.words()
    table = _rows(wanted, words)
    held = embedded_ids(shard_paths(lake, wanted.id)).combine_chunks()
    missing = np.flatnonzero(~np.asarray(pc.is_in(table["content_id"], value_set=held)))
    receipts = [
        _shard(lake, wanted, table["content_id"].take(pa.array(rows)).to_pylist(), words, rows)
        for rows in _parts(missing, settings.run.shard_rows)
    ]
    with whole_or_undone(lake, f"vocabulary of {space.id.name}"):
        lake.replace_space("vocabulary", wanted.id.name, table, run_id)
        register_shards(lake, wanted.id, receipts, run_id)
        _record(lake, wanted, {"vocabulary_of": space.id.fingerprint}, run_id)
    return {"words": table.num_rows, "shards": len(receipts)}


def _parts(rows: RowIds, size: int) -> Iterator[RowIds]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _rows(space: SpaceRow, words: WordVectors) -> pa.Table:
    counts = words.counts
    count = pa.nulls(len(words.words), pa.int64()) if counts is None else pa.array(counts)
    columns = {
        "space": pa.array([space.id.name]).take(pa.array(np.zeros(len(words.words), np.int64))),
        "content_id": pa.array(map(content_id, words.words), pa.string()),
        "word": pa.array(words.words, pa.string()),
        "count": count,
        "rank": pa.array(np.arange(1, len(words.words) + 1)),
    }
    return pa.table(columns, schema=TABLES["vocabulary"].columns)


def _shard(
    lake: Lake, space: SpaceRow, ids: list[str], words: WordVectors, rows: RowIds
) -> ShardReceipt:
    path = lake.store.address(f"{space.id.folder}/{shard_name(space.id, ids)}")
    vectors = np.ascontiguousarray(words.vectors[rows], np.float32)
    return finished_shard(path, space.id) or write_shard(path, space.id, ids, vectors)


def _record(lake: Lake, space: SpaceRow, details: dict[str, Any], run_id: str) -> None:
    """Make a vocabulary the current one of its name."""
    row = {
        "space": space.id.name,
        "fingerprint": space.id.fingerprint,
        "encoder": space.encoder,
        "options": space.options,
        "recipe": space.recipe,
        "modality": space.modality,
        "dim": space.id.dim,
        "metric": space.id.metric,
        "artefact": space.artefact,
        "details": json.dumps(details),
        "is_current": True,
        "run_id": run_id,
        "recorded_at": datetime.now(UTC),
    }
    lake.upsert("spaces", table_of("spaces", [row, *_replaced(lake, space)]), run_id)


def _replaced(lake: Lake, space: SpaceRow) -> list[dict[str, Any]]:
    rows = lake.read("spaces", where=pc.field("space") == space.id.name).to_pylist()
    return [
        row | {"is_current": False} for row in rows if row["fingerprint"] != space.id.fingerprint
    ]


def _drop(lake: Lake, space: SpaceRow, run_id: str) -> None:
    """Let the lake have no words of an encoder any more; older snapshots keep theirs."""
    name = space.id.name
    of_it = pc.field("space") == name
    with whole_or_undone(lake, f"dropping {name}"):
        for table in ("vocabulary", "neighbours"):
            if lake.read(table, where=of_it, columns=["space"]).num_rows:
                lake.replace_space(table, name, TABLES[table].columns.empty_table(), run_id)
        builds = lake.read("builds", where=of_it, columns=["space", "stage"])
        lake.delete("builds", pa.table(builds), run_id)
        rows = lake.read("spaces", where=of_it).to_pylist()
        gone = [row | {"is_current": False} for row in rows]
        lake.upsert("spaces", table_of("spaces", gone), run_id)
