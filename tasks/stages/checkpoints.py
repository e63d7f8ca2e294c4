"""Lists of a long graph build, kept so that a killed one goes on where it was.

A build takes a minute at a million rows. After each turn through some of the cells its lists are
written whole, under a name that tells what they were computed from and how many turns they have
seen. The next build of the same inputs goes on from there, to the same bytes in the end; lists of
other inputs are removed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from data.content import digest_of_ids
from models.indexes.faiss_library import installation
from models.indexes.results import Neighbours

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors

_REVISION: Final = 4
"""Raise it when the same inputs should give other lists."""
_SUFFIX: Final = ".arrow"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The lists of one build; see `models.analysis.linking.Kept`.

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
        """Open the lists of a build, and remove those that belong to another one.

        Args:
            lake: where they are kept.
            space: whose graph it is.
            vectors: all rows.
            inputs: JSON values of everything else that the lists depend on.
        """
        every = inputs | {
            "vectors": vectors.digest,
            "faiss": installation().version,
            "revision": _REVISION,
        }
        name = digest_of_ids([json.dumps(every, sort_keys=True)])
        for other in lake.store.folders(_place(space)):
            if other != name:
                lake.store.delete_folder(f"{_place(space)}/{other}")
        return cls(lake, f"{_place(space)}/{name}")

    def load(self) -> tuple[int, Neighbours] | None:
        """Return how many turns a former build has done, and its lists."""
        names = sorted(self.lake.store.names(self.folder))
        if not names:
            return None
        with self.lake.store.reading(f"{self.folder}/{names[-1]}") as path:
            table = pa.ipc.open_stream(pa.OSFile(str(path))).read_all()
        width = int(table.schema.metadata[b"neighbours"])
        lists = Neighbours(
            table["row"].to_numpy().reshape(-1, width).copy(),
            table["similarity"].to_numpy().reshape(-1, width).copy(),
        )
        return int(names[-1].removesuffix(_SUFFIX)), lists

    def save(self, turns: int, lists: Neighbours) -> None:
        """Write the lists after a turn; those before it are of no use any more."""
        before = list(self.lake.store.names(self.folder))
        table = pa.table(
            {
                "row": pa.array(lists.rows.ravel()),
                "similarity": pa.array(lists.similarities.ravel()),
            }
        ).replace_schema_metadata({"neighbours": str(lists.rows.shape[1])})
        name = f"{self.folder}/{turns:06d}{_SUFFIX}"
        with (
            self.lake.store.writing(name, "checkpoint") as path,
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_stream(file, table.schema) as writer,
        ):
            writer.write_table(table)
        self.lake.store.delete([f"{self.folder}/{name}" for name in before])


def forget_checkpoints(lake: Lake, space: SpaceRow) -> None:
    """Remove all lists of a space: its graph stands."""
    if lake.store.folders(_place(space)):
        lake.store.delete_folder(_place(space))


def _place(space: SpaceRow) -> str:
    return f"checkpoints/{space.key}"
