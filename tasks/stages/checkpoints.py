"""Blocks of a long graph build, kept so that a killed one goes on where it was.

A build through an index takes minutes at a million rows. Each block of lists is written whole under
a name that tells what it was computed from, so the next build of the same inputs takes over those
that are there, to the same bytes in the end; blocks of other inputs are removed.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from data.content import digest_of_ids
from models.analysis.graph import link_rows, query_rows
from models.analysis.graph_effort import for_graph
from models.indexes.faiss_library import installation
from models.indexes.results import Neighbours
from tasks.stages.builds import last_build, progress_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors
    from models.analysis.graph import GraphOptions
    from models.indexes.row_view import RowView
    from tasks.stages.builds import BuildStep

_REVISION = 3
"""Raise it when the same inputs should give other lists."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The blocks of one build.

    Attributes:
        lake: where they are kept.
        folder: of these inputs, in the store.
    """

    lake: Lake
    folder: str

    @classmethod
    def of(
        cls, lake: Lake, space: SpaceRow, vectors: ShardVectors, inputs: dict[str, Any]
    ) -> Checkpoints:
        """Open the blocks of a build, and remove those that belong to another one.

        Args:
            lake: where they are kept.
            space: whose graph it is.
            vectors: all rows.
            inputs: JSON values of everything else that the lists depend on.
        """
        every = inputs | {
            "vectors": vectors.digest,
            "rows": query_rows(vectors.dim),
            "revision": _REVISION,
        }
        name = digest_of_ids([json.dumps(every, sort_keys=True)])
        for other in lake.store.folders(_place(space)):
            if other != name:
                lake.store.delete_folder(f"{_place(space)}/{other}")
        return cls(lake, f"{_place(space)}/{name}")

    def stored(self) -> Iterator[tuple[int, Neighbours]]:
        """Yield the blocks that a former build has left, from the first row on, without a gap."""
        found = set(self.lake.store.names(self.folder))
        start = 0
        while _name(start) in found:
            content = self.lake.store.read(f"{self.folder}/{_name(start)}")
            table = pa.ipc.open_stream(content).read_all()
            width = int(table.schema.metadata[b"neighbours"])
            rows = table["row"].to_numpy().reshape(-1, width)
            yield start, Neighbours(rows, table["similarity"].to_numpy().reshape(-1, width))
            start += rows.shape[0]

    def keep(self, start: int, block: Neighbours) -> None:
        """Write the lists of consecutive rows."""
        width = block.rows.shape[1]
        table = pa.table(
            {
                "row": pa.array(np.ascontiguousarray(block.rows).ravel()),
                "similarity": pa.array(np.ascontiguousarray(block.similarities).ravel()),
            }
        ).replace_schema_metadata({"neighbours": str(width)})
        content = io.BytesIO()
        with pa.ipc.new_stream(content, table.schema) as writer:
            writer.write_table(table)
        self.lake.store.write(f"{self.folder}/{_name(start)}", content.getvalue(), "checkpoint")


def resumed_links(
    lake: Lake, step: BuildStep, vectors: ShardVectors, index: RowView, options: GraphOptions
) -> Iterator[tuple[int, Neighbours]]:
    """Find the lists of all rows through an index; those that a former build has found are kept.

    Args:
        lake: where they are kept.
        step: the stage; its inputs have `k` and `target_recall`.
        vectors: all rows.
        index: over the same rows in the same order.
        options: as for `link_rows`.

    Yields:
        As `link_rows` does; all rows in order.
    """
    build = last_build(lake, "index", step.space)
    known = json.loads(build["details"]) if build else {}
    inputs = step.inputs | {"index": known, "faiss": installation().version}
    checkpoints = Checkpoints.of(lake, step.space, vectors, inputs)
    done = 0
    for start, block in checkpoints.stored():
        done = start + block.rows.shape[0]
        yield start, block
    if done == vectors.rows:
        return
    k, progress = step.inputs["k"], progress_of("graph", step.space)
    eager = for_graph(vectors, index, k, step.inputs["target_recall"], options.seed)
    left = replace(options, first=done)
    for start, block in link_rows(vectors, eager, index.index.metric, k, left, progress):
        checkpoints.keep(start, block)
        yield start, block


def forget_checkpoints(lake: Lake, space: SpaceRow) -> None:
    """Remove all blocks of a space: its graph stands."""
    if lake.store.folders(_place(space)):
        lake.store.delete_folder(_place(space))


def _place(space: SpaceRow) -> str:
    return f"checkpoints/{space.key}"


def _name(start: int) -> str:
    return f"{start:012d}.arrow"
