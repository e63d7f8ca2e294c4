"""Parts of a long graph build, kept so that a killed one goes on where it was.

A build takes a minute at a million rows. What each block of cells gives is written whole, under a
name that tells what it was computed from. The next build of the same inputs takes over what is
there, to the same bytes in the end; parts of other inputs are removed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from data.content import digest_of_ids
from models.indexes.faiss_library import installation

if TYPE_CHECKING:
    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.vectors import ShardVectors

_REVISION: Final = 4
"""Raise it when the same inputs should give other lists."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The parts of one build; see `models.analysis.linking.Kept`.

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
        """Open the parts of a build, and remove those that belong to another one.

        Args:
            lake: where they are kept.
            space: whose graph it is.
            vectors: all rows.
            inputs: JSON values of everything else that they depend on.
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

    def load(self, name: str) -> list[Any] | None:
        """Return the arrays that a former build has left under a name."""
        try:
            with (
                self.lake.store.reading(f"{self.folder}/{name}.npz") as path,
                np.load(path) as held,
            ):
                return [held[one] for one in held.files]
        except FileNotFoundError:
            return None

    def save(self, name: str, arrays: list[Any]) -> None:
        """Write some arrays."""
        with (
            self.lake.store.writing(f"{self.folder}/{name}.npz", "checkpoint") as path,
            path.open("wb") as file,
        ):
            np.savez(file, *arrays)


def forget_checkpoints(lake: Lake, space: SpaceRow) -> None:
    """Remove all parts of a space: its graph stands."""
    if lake.store.folders(_place(space)):
        lake.store.delete_folder(_place(space))


def _place(space: SpaceRow) -> str:
    return f"checkpoints/{space.key}"
