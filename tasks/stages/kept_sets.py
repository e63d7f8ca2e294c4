"""The kept set as files of its own: hard links or copies in a folder, and nothing else touched.

Names are those the items have in their sources, below a folder for each source.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from data.content import content_id
from data.storage import create_exclusively
from data.stores import is_remote
from latentlake.errors import BadInputError, ConfigError
from latentlake.progress import report_progress
from tasks.stages.contents import CONTENT_REFS, ContentReader, ContentRef
from tasks.stages.kept_names import KeptNames, image_suffix, safe_name
from tasks.stages.source_places import base_of, file_place

if TYPE_CHECKING:
    import pyarrow as pa

    from latentlake.settings import Settings
    from tasks.stages.contents import Payload

Way = Literal["link", "copy"]
_ROWS: Final = 4096


@dataclass(frozen=True, slots=True)
class LaidOut:
    """What has been laid out.

    Attributes:
        made: files that were linked or copied now.
        there: files that were there already, with the same bytes.
        missing: why items could not be read where they were last seen, a line each.
        strange: other files in the folder; they are left alone.
    """

    made: int
    there: int
    missing: tuple[str, ...]
    strange: int

    def line(self, folder: Path, way: Way) -> str:
        """Return what was done as a sentence."""
        done = "linked" if way == "link" else "copied"
        told = f"{folder}: {self.made:,} files {done}, {self.there:,} were there already"
        if self.missing:
            told += f"; {len(self.missing):,} items could not be read, the first: {self.missing[0]}"
        if self.strange:
            told += f"; {self.strange:,} files in it are not of the kept set, and stay"
        return f"{told}."


def lay_out(settings: Settings, kept: pa.Table, folder: Path, way: Way) -> LaidOut:
    """Link or copy items into a folder; a call that was broken off is gone on with.

    Each content is read and held against its hash. Nothing is ever replaced or removed, neither
    in the folder nor in a source.

    Args:
        settings: where the sources are.
        kept: the items: item_id, source, file, key, position, content_id, size_bytes.
        folder: made where it is missing; outside of all sources and of the lake.
        way: hard links need whole local files on the folder's own file system.

    Raises:
        ConfigError: the folder is inside a source or the lake, an item cannot be linked or is no
            file at all, or another file has its name.
    """
    place = folder.absolute()
    _refuse_place(settings, place.resolve())
    _refuse_items(settings, kept, way)
    place.mkdir(parents=True, exist_ok=True)
    order = [(name, "ascending") for name in ("source", "file", "position", "key")]
    table, layout = kept.sort_by(order), _Layout(settings, place.resolve(), way)
    for start in range(0, table.num_rows, _ROWS):
        layout.add(table.slice(start, _ROWS))
        report_progress(f"{way} kept items", min(start + _ROWS, table.num_rows), table.num_rows)
    return layout.finished()


class _Layout:
    """A folder that is being filled."""

    def __init__(self, settings: Settings, folder: Path, way: Way) -> None:
        self._settings, self._folder, self._way = settings, folder, way
        self._reader, self._names = ContentReader(settings), KeptNames()
        self._own: set[Path] = set()
        self._counts: Counter[str] = Counter()
        self._missing: list[str] = []

    def add(self, items: pa.Table) -> None:
        """Lay out some items, which are in the order of their files."""
        refs = [ContentRef(**row) for row in items.select(CONTENT_REFS.names).to_pylist()]
        places = [(ref.source, ref.file, ref.key) for ref in refs]
        ids = dict(zip(places, items["item_id"].to_pylist(), strict=True))
        for ref, load in self._reader.payloads(refs):
            try:
                payload = load()
            except BadInputError as error:
                self._missing.append(str(error))
                continue
            target = self._target(ref, payload, ids[ref.source, ref.file, ref.key])
            self._counts["made" if self._put(ref, payload, target) else "there"] += 1

    def finished(self) -> LaidOut:
        """Return what has been done, after a look at what else the folder holds."""
        found = (Path(base, name) for base, _, names in os.walk(self._folder) for name in names)
        strange = sum(path not in self._own for path in found)
        return LaidOut(self._counts["made"], self._counts["there"], tuple(self._missing), strange)

    def _target(self, ref: ContentRef, payload: Payload, item_id: str) -> Path:
        """Return where an item goes; a link that lies in the folder may not lead out of it."""
        parts, suffix = (ref.source, *ref.file.split("/")), ""
        if ref.key is not None:
            parts = (*parts, ref.key)
            suffix = ".txt" if isinstance(payload, str) else image_suffix(payload)
        target = self._folder / self._names.path_of(parts, suffix, item_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.parent.resolve().is_relative_to(self._folder):
            raise ConfigError(
                f"{target.parent}: a link in the folder leads out of it: choose an empty folder."
            )
        self._own.add(target)
        return target

    def _put(self, ref: ContentRef, payload: Payload, target: Path) -> bool:
        raw = payload.encode() if isinstance(payload, str) else bytes(payload)
        if self._way == "copy" and create_exclusively(target, raw):
            return True
        if self._way == "link" and _link(self._settings, ref, target):
            return True
        if target.is_file() and content_id(target.read_bytes()) == content_id(raw):
            return False
        raise ConfigError(
            f"{target}: something else has this name, and nothing is replaced: choose an empty "
            "folder."
        )


def _link(settings: Settings, ref: ContentRef, target: Path) -> bool:
    """Make a hard link; return False where the name is taken."""
    path = Path(file_place(settings, ref.source, ref.file)).resolve()
    try:
        os.link(path, target)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot be a hard link to {path} ({error.strerror}): --copy makes copies."
        ) from None
    return True


def _refuse_place(settings: Settings, folder: Path) -> None:
    """Refuse a folder whose files a source would take for its own, or that is the lake's."""
    roots = [] if is_remote(settings.root) else [("the lake", Path(settings.root).resolve())]
    for source in settings.sources:
        place = settings.resolve(source.uri)
        if not is_remote(place) and not Path(place).is_file():
            root = Path(base_of(settings, source.name)).resolve()
            roots.append((f"source '{source.name}'", root))
    for source in settings.sources:
        own = folder / safe_name(source.name)
        for what, root in roots:
            if own.is_relative_to(root) or root.is_relative_to(own):
                raise ConfigError(
                    f"{folder} and {what} ({root}) would mix: choose a folder outside of it."
                )


def _refuse_items(settings: Settings, kept: pa.Table, way: Way) -> None:
    for name in kept["source"].unique().to_pylist():
        source = settings.source(name)
        if source.kind == "vectors":
            raise ConfigError(f"source '{name}' holds vectors: they are no files to {way}.")
        if way == "link" and is_remote(settings.resolve(source.uri)):
            raise ConfigError(
                f"source '{name}' is on S3, where nothing can be linked to: --copy fetches copies."
            )
    if way == "link":
        inside = kept.filter(kept["key"].is_valid())
        if inside.num_rows:
            row = inside.slice(0, 1).to_pylist()[0]
            raise ConfigError(
                f"source '{row['source']}': {inside.num_rows:,} items are inside of files such as "
                f"{row['file']}, where nothing can be linked to: --copy takes them out."
            )
