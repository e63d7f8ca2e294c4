"""What can be wrong with an index or with the vectors brought to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latentlake.errors import ConfigError, LakeError

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
    """Vectors that cannot be indexed or searched for: no matrix, not all finite, or too long."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"these vectors cannot be used: {reason}.")


class IndexTooLargeError(ConfigError):
    """No kind of index over these vectors fits into its share of the memory limit.

    Attributes:
        needed_bytes: of the smallest one.
        most_bytes: its share.
    """

    def __init__(self, rows: int, dim: int, needed_bytes: int, most_bytes: int) -> None:
        self.needed_bytes, self.most_bytes = needed_bytes, most_bytes
        super().__init__(
            f"an index over {rows:,} x {dim} takes {needed_bytes // 10**6} MB, "
            f"{most_bytes // 10**6} are its share of limits.memory: raise the limit."
        )


class IndexKindError(ConfigError):
    """A kind of index that cannot hold vectors of some metric."""

    def __init__(self, kind: str, metric: str, fitting: tuple[str, ...]) -> None:
        self.kind, self.metric = kind, metric
        super().__init__(
            f"index.kind '{kind}' does not suit the metric '{metric}': "
            f'take "auto" or one of {", ".join(fitting)}.'
        )


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
