"""The words of an encoder as a space of their own: `<space>_vocabulary`.

A word's content is the word's text, and it is no item: what counts in such a space stands in the
table `vocabulary`. It is made with the encoder's model and stays until the model changes.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.active import active_contents
from data.catalog import SpaceRow, space_versions, version_key
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
from latentlake.settings import vocabulary_name
from models.encoders.registry import find_encoder
from tasks.stages.forgetting import forget_version
from tasks.stages.receipts import StageReceipt
from tasks.stages.spaces import live_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from latentlake.settings import Settings
    from models.encoders.word_vectors_io import WordVectors
    from models.types import RowIds

_WORD: Final = "word"


def update_vocabulary(
    lake: Lake, settings: Settings, space: SpaceRow, run_id: str
) -> StageReceipt | None:
    """Make the words of a version of a space a version of their own space, or drop that one.

    Readers see the words of the version that they see.

    Args:
        lake: where the space is.
        settings: whether its words are wanted.
        space: the version of the space of texts.
        run_id: recorded in commits.

    Returns:
        None where nothing was to do.

    Raises:
        ConfigError: a space of that name is configured, too.
    """
    began = time.monotonic()
    configured = settings.space(space.id.name)
    name = configured.vocabulary_name
    versions = [version for version in space_versions(lake, name) if version.is_vocabulary]
    if not (configured.vocabulary and find_encoder(space.encoder).has_words):
        if not versions:
            return None
        with whole_or_undone(lake, f"dropping {name}"):
            for version in versions:
                forget_version(lake, version, run_id)
        seconds = time.monotonic() - began
        return StageReceipt("embed", name, True, {"dropped": 1}, seconds)  # noqa: FBT003
    if name in {other.name for other in settings.spaces}:
        raise ConfigError(
            f"space '{space.id.name}' makes a space '{name}' of its words, and one of that name is "
            "configured: rename that one, or set vocabulary = false."
        )
    wanted = _wanted(space, versions)
    if any(map(partial(_is_same, wanted), versions)) and _is_whole(lake, wanted):
        promote_vocabulary(lake, space.id.name, run_id)
        return None
    counts = _make(lake, settings, space, wanted, run_id)
    return StageReceipt("embed", wanted.label, True, counts, time.monotonic() - began)  # noqa: FBT003


def promote_vocabulary(lake: Lake, name: str, run_id: str) -> None:
    """Let readers see the words of the version of a space that they see; changes `spaces` only."""
    texts = {_fingerprint(version): version for version in space_versions(lake, name)}
    here = (pc.field("space") == vocabulary_name(name)) & (pc.field("modality") == _WORD)
    changed = []
    for row in lake.read("spaces", where=here).to_pylist():
        of = texts.get(row["fingerprint"])
        state = {"is_current": bool(of and of.is_current), "is_waiting": bool(of and of.is_waiting)}
        if {key: bool(row[key]) for key in state} != state:
            changed.append(row | state)
    lake.upsert("spaces", table_of("spaces", changed), run_id)


def forget_vocabulary(lake: Lake, space: SpaceRow, run_id: str) -> None:
    """Forget the words of a version that is forgotten itself; the caller lets it be whole."""
    for version in space_versions(lake, vocabulary_name(space.id.name)):
        if version.is_vocabulary and version.id.fingerprint == _fingerprint(space):
            forget_version(lake, version, run_id)


def _fingerprint(space: SpaceRow) -> str:
    return digest_of_ids(["vocabulary", space.id.fingerprint])[:16]


def _wanted(space: SpaceRow, versions: Sequence[SpaceRow]) -> SpaceRow:
    """Return the words' version that goes with a version of the texts."""
    name, fingerprint = vocabulary_name(space.id.name), _fingerprint(space)
    known = [version.key for version in versions if version.id.fingerprint == fingerprint]
    fresh = version_key(name, fingerprint) if versions else name
    return replace(
        space,
        id=replace(space.id, name=name, fingerprint=fingerprint),
        modality=_WORD,
        key=known[0] if known else fresh,
        details=json.dumps({"vocabulary_of": space.id.fingerprint}),
    )


def _is_same(wanted: SpaceRow, held: SpaceRow) -> bool:
    """Whether a version is the wanted one, whatever readers see of it and whichever run made it."""
    flags = {name: getattr(wanted, name) for name in ("is_current", "is_waiting", "run_id")}
    return replace(held, **flags) == wanted


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
        lake.replace_space("vocabulary", wanted.key, table, run_id)
        register_shards(lake, wanted.id, receipts, run_id)
        _record(lake, wanted, run_id)
        promote_vocabulary(lake, space.id.name, run_id)
    return {"words": table.num_rows, "shards": len(receipts)}


def _parts(rows: RowIds, size: int) -> Iterator[RowIds]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _rows(space: SpaceRow, words: WordVectors) -> pa.Table:
    counts = words.counts
    count = pa.nulls(len(words.words), pa.int64()) if counts is None else pa.array(counts)
    columns = {
        "space": pa.array([space.key]).take(pa.array(np.zeros(len(words.words), np.int64))),
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


def _record(lake: Lake, space: SpaceRow, run_id: str) -> None:
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
        "details": space.details,
        "key": space.key,
        "is_current": space.is_current,
        "is_waiting": space.is_waiting,
        "run_id": run_id,
        "recorded_at": datetime.now(UTC),
    }
    lake.upsert("spaces", table_of("spaces", [row]), run_id)
