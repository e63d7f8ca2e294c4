"""Finding files: walks of folders and globs that end, in one order, whatever the disk holds.

The order is that of the relative paths compared as text, so a walk is deterministic, and one folder
at a time is in memory.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from data.locking import LOCK_NAME
from data.sources.records import BadRecord, bad_record, file_name

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = "(hidden)"
"""How files and folders whose name begins with a dot are counted."""

LINKED = "(linked folder)"
"""How links to a folder that is listed elsewhere, a loop above all, are counted."""

LAKE = "(lake)"
"""How lakes are counted: what latentlake wrote is no input, or each run would read the last one."""


@dataclass(frozen=True, slots=True)
class GlobPattern:
    """A glob: `*`, `?` and `[...]` within a name, `**` for any number of folders.

    Attributes:
        base: the folder before the first wildcard.
        segments: the rest, one a level.
    """

    base: Path
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, uri: str) -> GlobPattern | None:
        """Split a place at its first wildcard; None where it has none."""
        parts = PurePath(uri).parts
        for level, part in enumerate(parts):
            if any(wildcard in part for wildcard in "*?["):
                return cls(Path(*parts[:level]), parts[level:])
        return None

    def matches(self, path: str) -> bool:
        """Tell whether a file's path, relative to the base, fits the whole pattern."""
        return _matches(tuple(path.split("/")), self.segments)

    def may_hold(self, folder: str) -> bool:
        """Tell whether files below a folder can fit, so that the others are not walked."""
        parts = folder.split("/")
        fixed = self.segments
        if "**" in fixed:
            fixed = fixed[: fixed.index("**")]
        elif len(parts) >= len(fixed):
            return False
        return all(fnmatchcase(part, want) for part, want in zip(parts, fixed, strict=False))


def _matches(parts: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    if not segments:
        return not parts
    first, rest = segments[0], segments[1:]
    if first == "**":
        if not rest:
            return bool(parts)
        return any(_matches(parts[skip:], rest) for skip in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], first) and _matches(parts[1:], rest)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; it is met again, and reported, as a file
        return False


@dataclass(frozen=True, slots=True)
class _Child:
    order: str
    path: str
    is_folder: bool
    is_link: bool


class FolderWalk:
    """All files below a folder, or those that fit a glob, without what is hidden and without lakes.

    Links to files are followed. A link to a folder is followed unless the folder is listed under
    its own name anyway, is hidden in the same tree, or has been walked before; so loops end.
    """

    def __init__(self, base: Path, pattern: GlobPattern | None = None) -> None:
        self.skipped: Counter[str] = Counter()
        self._base = base
        self._real_base = os.path.realpath(base)
        self.pattern = pattern
        self._walked: set[tuple[int, int]] = set()

    def __iter__(self) -> Iterator[str | BadRecord]:
        """Yield paths relative to the base, as the operating system has them, and bad folders."""
        self.skipped.clear()
        self._walked.clear()
        self._is_new("")
        pending = [self._children("")]  # a stack: recursion would end at a thousand levels
        while pending:
            child = next(pending[-1], None)
            if child is None:
                pending.pop()
            elif isinstance(child, BadRecord):
                yield child
            elif child.is_folder:
                if self._enters(child):
                    pending.append(self._children(child.path))
            elif self.pattern is None or self.pattern.matches(child.path):
                yield child.path

    def _children(self, folder: str) -> Iterator[_Child | BadRecord]:
        try:
            with os.scandir(self._base / folder) as entries:
                children = [self._child(folder, entry) for entry in entries]
        except OSError as error:
            yield bad_record(file_name(folder) or ".", None, "list", error)
            return
        children.sort(key=lambda child: child.order)
        for child in children:
            if child.path.rpartition("/")[2].startswith("."):
                self.skipped[HIDDEN] += 1
            else:
                yield child

    @staticmethod
    def _child(folder: str, entry: os.DirEntry[str]) -> _Child:
        is_folder = _is_folder(entry)
        # With its slash a folder sorts where its files sort: "a-b" before "a/x" before "a0".
        order = file_name(entry.name) + ("/" if is_folder else "")
        path = f"{folder}/{entry.name}" if folder else entry.name
        return _Child(order, path, is_folder, entry.is_symlink())

    def _enters(self, child: _Child) -> bool:
        if self.pattern is not None and not self.pattern.may_hold(child.path):
            return False
        if (child.is_link and self._is_inside(child.path)) or not self._is_new(child.path):
            self.skipped[LINKED] += 1
            return False
        if (self._base / child.path / LOCK_NAME).is_file():  # every writer of a lake makes it first
            self.skipped[LAKE] += 1
            return False
        return True

    def _is_inside(self, path: str) -> bool:
        """Tell whether a link leads to the tree that is being walked without it."""
        if self.pattern is not None:
            return False
        real = os.path.realpath(self._base / path)
        return os.path.commonpath([real, self._real_base]) == self._real_base

    def _is_new(self, folder: str) -> bool:
        try:
            found = (self._base / folder).stat()
        except OSError:
            return True  # listing it will fail as well, and says why
        identity = (found.st_dev, found.st_ino)
        if identity in self._walked:
            return False
        self._walked.add(identity)
        return True
