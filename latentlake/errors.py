"""Every error that latentlake raises on purpose.

    LatentlakeError                     one line on stderr and exit status 1
    ├── ConfigError                     latentlake.toml, the environment or an option is wrong
    │   ├── UnknownEncoderError         no built-in encoder and no plug-in has this name
    │   ├── MemoryLimitError            limits.memory is too small for what a stage must hold
    │   └── MissingExtraError           an optional package is needed and not installed
    ├── SourceError                     a configured place cannot be listed at all
    ├── BadInputError                   one input cannot be used: quarantine it and go on
    │   └── EncodeError                 the content is fine, but not for this encoder
    ├── LakeError                       the lake's files are not what they should be
    │   ├── LakeNotFoundError           there is no lake at this root yet
    │   ├── LakeBusyError               another process writes to it, and waiting was not wanted
    │   ├── LakeNotWritableError        its disk is full, over quota or read-only
    │   ├── SchemaVersionError          the lake's layout is older or newer than this code's
    │   ├── ShardError                  a shard's footer, schema or digest is wrong
    │   ├── WriterLostError             another writer took the lake over from this one
    │   ├── StoreError                  S3 refused: no such bucket, no permission
    │   │   └── StoreUnavailableError   S3 did not answer, however often it was asked
    │   └── SpaceMismatchError          two models would meet in one space
    ├── PromotionRefusedError           a version lacks what the current one of its space has
    └── QueryError                      a search or SQL statement that cannot be answered

An error says what, where and what to do, and carries its parts as attributes.
Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def nearest_hint(wrong: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name nearest to a wrong one, or nothing."""
    matches = get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ""


class LatentlakeError(Exception):
    """Base of all errors with a way out; the CLI prints it on one line and exits 1."""


class ConfigError(LatentlakeError):
    """A setting is missing, unknown or has a value that cannot be used."""


class UnknownEncoderError(ConfigError):
    """No built-in encoder and no installed plug-in has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(
            f"unknown encoder '{name}'.{nearest_hint(name, self.known)} "
            f"Installed: {', '.join(self.known)}."
        )


class MissingExtraError(ConfigError):
    """An optional dependency is needed for what was asked and is not installed."""

    def __init__(self, feature: str, package: str, install: str) -> None:
        self.feature, self.package, self.install = feature, package, install
        super().__init__(f"{feature} needs the package '{package}': pip install {install}")


class MemoryLimitError(ConfigError):
    """A join or sort does not fit into its share of limits.memory, not even by way of the disk."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"limits.memory is too small ({reason}): raise it in latentlake.toml.")


class SourceError(LatentlakeError):
    """A source cannot be listed: its folder or file is missing, or unreadable as a whole."""

    def __init__(self, source: str, reason: str) -> None:
        self.source, self.reason = source, reason
        super().__init__(f"source '{source}': {reason}")


class BadInputError(LatentlakeError):
    """One input cannot be used; the caller puts it into quarantine and goes on."""


class EncodeError(BadInputError):
    """A sound content that this encoder has no vector for (a text without a known word)."""


class LakeError(LatentlakeError):
    """The lake's files are not what they should be."""


class LakeNotFoundError(LakeError):
    """There is no lake at this root, or nothing has been committed to it yet."""

    def __init__(self, root: str) -> None:
        self.root = root
        super().__init__(f"no lake at '{root}' yet: 'latentlake run' makes it.")


class LakeBusyError(LakeError):
    """Another process is writing to this lake."""

    def __init__(self, root: str, owner: str) -> None:
        self.root, self.owner = root, owner
        super().__init__(
            f"lake '{root}': {owner} is writing to it. Try again later, or wait with --wait."
        )


class LakeNotWritableError(LakeError):
    """The disk under the lake refuses to be written: it is full, over quota or read-only."""

    def __init__(self, place: str, reason: str, way_out: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"cannot write {place}: {reason}; {way_out}")


class SchemaVersionError(LakeError):
    """What the lake holds was written in another layout than this code reads."""

    def __init__(self, where: str, found: int, expected: int) -> None:
        self.where, self.found, self.expected = where, found, expected
        way_out = (
            "'latentlake migrate' says what bringing it up to date takes"
            if found < expected
            else "a newer latentlake wrote it: update this one"
        )
        super().__init__(f"{where}: schema version {found}, this code reads {expected}; {way_out}.")


class ShardError(LakeError):
    """A shard's footer, schema or digest does not fit what its name and table promise."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


class WriterLostError(LakeError):
    """Another writer took the lake over, because this one did not renew its lease in time."""

    def __init__(self, root: str, lease_s: float) -> None:
        self.root, self.lease_s = root, lease_s
        super().__init__(
            f"{root}: another writer has taken over. This one did not renew its lease for "
            f"{lease_s:.0f} s: it was suspended, or cut off from S3. Run the same command again."
        )


class StoreError(LakeError):
    """S3 refused a request for a reason that trying again does not change."""

    def __init__(self, place: str, reason: str, remedy: str = "", code: str = "") -> None:
        self.place, self.reason, self.code = place, reason, code
        way_out = remedy or "Check the bucket's name, its region and what your credentials allow."
        super().__init__(f"{place}: S3 says {reason}. {way_out}")


class StoreUnavailableError(StoreError):
    """S3 gave no usable answer within all tries; nothing is half done, so run again."""

    def __init__(self, place: str, reason: str, tries: int, remedy: str = "") -> None:
        self.tries = tries
        remedy = remedy or "It may pass: run the same command again."
        super().__init__(place, f"{reason}, {tries} times", remedy)
        self.reason = reason


class SpaceMismatchError(LakeError):
    """Vectors of one model would be mixed with, or compared to, those of another."""

    def __init__(self, space: str, found: str, expected: str, where: str) -> None:
        self.space, self.found, self.expected = space, found, expected
        super().__init__(
            f"space '{space}': {where} has fingerprint {found}, the configuration asks for "
            f"{expected}. Run 'latentlake run' to build the new space beside the old one."
        )


class PromotionRefusedError(LatentlakeError):
    """A version is not complete, so readers would lose something by the switch."""

    def __init__(self, version: str, missing: Sequence[str]) -> None:
        self.version, self.missing = version, tuple(missing)
        super().__init__(
            f"{version} lacks {', '.join(missing)}: 'latentlake run' completes the version that is "
            "configured; --force promotes it as it is."
        )


class QueryError(LatentlakeError):
    """A search or SQL statement that cannot be answered as it was put."""
