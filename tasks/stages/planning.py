"""What a space lacks, as a deterministic plan of shards.

The plan is a Parquet file with a row group a shard, so that a task reads what it encodes and no
more. It depends only on what is committed and configured: a run after a crash plans the same shards
with the same names, and finds those that were finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from data.shards import shard_name, shard_paths
from data.stores import readable
from tasks.stages.budget import budget_of, working_on
from tasks.stages.contents import CONTENT_REFS, refs_of, view_first_places
from tasks.stages.refusals import refused_contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.workspace import Workspace
    from latentlake.settings import Settings
    from tasks.stages.contents import ContentRef


@dataclass(frozen=True, slots=True)
class ShardGroup:
    """Shards that one task encodes: they share files, which are then streamed once.

    Attributes:
        plan: the plan's file, by its name in the lake.
        first: the plan's row group of the first shard.
        rows: how many rows they have together.
        shards: their names, in order.
    """

    plan: str
    first: int
    rows: int
    shards: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmbedPlan:
    """What a space lacks.

    Attributes:
        groups: the work, in order.
        pending: contents to encode.
    """

    groups: tuple[ShardGroup, ...]
    pending: int


@dataclass(frozen=True, slots=True)
class _Planned:
    """A shard as the grouping sees it: where its first and last content are."""

    name: str
    rows: int
    begins: tuple[str, str]
    ends: tuple[str, str]


def plan_embedding(lake: Lake, settings: Settings, space: SpaceRow) -> EmbedPlan:
    """Plan shards for the contents that have neither a vector nor a reason why not.

    Raises:
        ConfigError: a shard does not fit into the memory limit.
    """
    rows = settings.run.shard_rows
    budget_of(settings).require_shard(rows, space.id.dim)
    with working_on(lake, settings, f"plan-{space.id.name}") as work:
        _view_pending(work, lake, settings, space)
        pending = work.count("pending")
        if not pending:
            return EmbedPlan((), 0)
        shards = -(-pending // rows)
        chunks = _chunks(work, rows)
        first = next(chunks)
        plan = f"{work_folder(space)}/{_name(space, first)}-{shards}.plan"
        planned = []
        with (
            lake.store.writing(plan, "plan") as temporary,
            pq.ParquetWriter(temporary, CONTENT_REFS) as writer,
        ):
            chunk: pa.Table | None = first
            while chunk is not None:
                writer.write_table(chunk, row_group_size=rows)
                planned.append(_planned(space, chunk))
                chunk = next(chunks, None)
    return EmbedPlan(tuple(_groups(plan, planned)), pending)


def planned_refs(lake: Lake, plan: str, shard: int) -> list[ContentRef]:
    """Return the contents of a plan's shard, in order."""
    with pq.ParquetFile(readable(lake.store.address(plan))) as file:
        return list(refs_of(file.read_row_group(shard)))


def work_folder(space: SpaceRow) -> str:
    """Return the lake's folder of a space's plans; its stage removes it in the end."""
    return f"work/{space.id.name}/{space.id.fingerprint}"


def _view_pending(work: Workspace, lake: Lake, settings: Settings, space: SpaceRow) -> None:
    """Make the view `pending`, a row of `CONTENT_REFS` a content that is to be encoded."""
    known = [refused_contents(work, lake, space)]
    if paths := shard_paths(lake, space.id):
        work.view_files("encoded", paths, ["content_id"])
        known.append("SELECT content_id FROM encoded")
    sources = settings.space(space.id.name).sources
    view_first_places(work, lake, sources, " UNION ALL ".join(known))
    work.execute("CREATE VIEW pending AS FROM first_places")


def _chunks(work: Workspace, rows: int) -> Iterator[pa.Table]:
    """Yield the pending contents in their order, `rows` at a time."""
    held: list[pa.Table] = []
    count = 0
    for found in work.stream("FROM pending ORDER BY source, file, position, key"):
        start = 0
        while start < found.num_rows:
            part = found.slice(start, rows - count)
            held.append(part)
            start, count = start + part.num_rows, count + part.num_rows
            if count == rows:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _joined(parts: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts).select(CONTENT_REFS.names).cast(CONTENT_REFS)


def _name(space: SpaceRow, chunk: pa.Table) -> str:
    return shard_name(space.id, chunk["content_id"].to_pylist())


def _planned(space: SpaceRow, chunk: pa.Table) -> _Planned:
    begins, ends = (
        (chunk["source"][at].as_py(), chunk["file"][at].as_py()) for at in (0, chunk.num_rows - 1)
    )
    return _Planned(_name(space, chunk), chunk.num_rows, begins, ends)


def _groups(plan: str, shards: list[_Planned]) -> Iterator[ShardGroup]:
    """Join shards that share a file of many items, so that it is streamed once."""
    start = 0
    for at, shard in enumerate(shards):
        if at + 1 < len(shards) and shards[at + 1].begins == shard.ends:
            continue
        group = shards[start : at + 1]
        names = tuple(shard.name for shard in group)
        yield ShardGroup(plan, start, sum(shard.rows for shard in group), names)
        start = at + 1
