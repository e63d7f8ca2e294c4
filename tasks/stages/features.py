"""Local features of photos, computed once and laid in a file: thousands would fill the memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from data.disk import writing_to
from latentlake.errors import BadInputError
from latentlake.progress import report_progress
from models.analysis.local_features import LONGER_SIDE, LocalFeatures, local_features
from tasks.stages.contents import CONTENT_REFS, ContentReader, refs_of, view_first_places
from tasks.stages.preparing import prepared_contents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from data.lake import Lake
    from data.workspace import Workspace
    from latentlake.settings import Settings
    from models.types import Image, RowIds
    from tasks.stages.contents import ContentRef, Load

_AT_ONCE: Final = 64
"""Photos that are on their way together."""


class FeatureFile:
    """The features of some photos, read from a file that the system's cache holds."""

    def __init__(self, path: Path, starts: RowIds) -> None:
        self._raw: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        self._starts = starts

    def __getitem__(self, place: int) -> LocalFeatures:
        """Return the features of the photo at a place; it must have some."""
        return LocalFeatures.from_bytes(self._raw[self._starts[place] :])

    @property
    def read(self) -> npt.NDArray[np.bool_]:
        """(photos,) bool: which of them could be read."""
        there: npt.NDArray[np.bool_] = self._starts >= 0
        return there


class _Describer:
    """Makes features of pictures."""

    min_side: Final = LONGER_SIDE

    def prepare(self, item: Image) -> LocalFeatures:
        return local_features(item)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep OpenCV and the BLAS to the thread that calls them: a pool of ours runs many at once."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        cv2.setNumThreads(before)


def describe_photos(
    work: Workspace, lake: Lake, settings: Settings, sources: tuple[str, ...], wanted: pa.Array
) -> FeatureFile:
    """Read photos where they lie, each file once and in order, and write down their features.

    Args:
        work: where the file goes; it is gone when the workspace is.
        lake: knows where the photos are.
        settings: of the sources, and how wide to work.
        sources: whose items hold the photos.
        wanted: contents, each once.

    Returns:
        The features in the order of `wanted`; photos that have gone, or cannot be decoded any
        more, have none.

    Raises:
        LakeNotWritableError: the disk is full or read-only.
    """
    pq.write_table(pa.table({"content_id": wanted}), work.folder / "wanted.parquet")
    work.view_files("wanted", [str(work.folder / "wanted.parquet")], ["content_id"])
    view_first_places(work, lake, sources)
    place_of = {content: place for place, content in enumerate(wanted.to_pylist())}
    starts, end, done = np.full(len(wanted), -1, np.int64), 0, 0
    path = work.folder / "features"
    loads = _loads(work, ContentReader(settings))
    with writing_to(path), path.open("wb") as file, one_thread_each():
        for ref, made in prepared_contents(_Describer(), settings, loads, _AT_ONCE):
            done += 1
            if done % _AT_ONCE == 0 or done == len(wanted):
                report_progress("duplicates: photos read", done, len(wanted), "photos")
            if not isinstance(made, BadInputError):
                starts[place_of[ref.content_id]] = end
                end += file.write(made.to_bytes())
        if not end:
            file.write(bytes(1))  # nothing can be mapped of an empty file
    return FeatureFile(path, starts)


def _loads(work: Workspace, reader: ContentReader) -> Iterator[tuple[ContentRef, Load]]:
    columns = ", ".join(CONTENT_REFS.names)
    query = (
        f"SELECT {columns} FROM first_places SEMI JOIN wanted USING (content_id) "  # noqa: S608
        "ORDER BY source, file, position, key"
    )
    for rows in work.stream(query):
        yield from reader.payloads(list(refs_of(rows)))
