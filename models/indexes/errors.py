"""What can be wrong with an index or with the vectors brought to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentlake.errors import LakeError

if TYPE_CHECKING:
    from pathlib import Path


class IndexMismatchError(LakeError):
    """Vectors and index, or two indexes, differ in dimension, metric or number of rows."""

    def __init__(self, what: str, found: object, expected: object) -> None:
        self.what, self.found, self.expected = what, found, expected
        super().__init__(
            f"{what} is {found}, the index expects {expected}. "
            "Was it made for another space? 'latentlake index' builds the index of each space anew."
        )


class InvalidVectorsError(LakeError):
    """Vectors that cannot be indexed or searched for: no matrix, or not all finite."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"these vectors cannot be used: {reason}.")


class TooManyMatchesError(LakeError):
    """A range search has found more than its caller can hold."""

    def __init__(self, matches: int) -> None:
        self.matches = matches
        super().__init__(f"more than {matches:,} rows are within the threshold: raise it.")


class IndexFileError(LakeError):
    """An index file is missing, cut short, or not one of latentlake's."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}. 'latentlake index' writes it anew.")
