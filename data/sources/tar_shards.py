"""Images in tar shards, by the WebDataset convention.

Members that follow each other and share their path up to the first dot of its last part are one
sample: ``train/0001.jpg``, ``train/0001.json``, ``train/0001.cls``. The image is the item, the stem
its key; a .json object, .cls and .txt become metadata, all other members are left alone (nothing is
unpickled). A second image of a sample (``0001.mask.png``) is an item too, under its full name.
"""

from __future__ import annotations

import tarfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from data.sources.compression import open_stream
from data.sources.formats import Container, format_of
from data.sources.json_lines import parse_json
from data.sources.limits import MAX_IMAGE_BYTES, MAX_SIDECAR_BYTES
from data.sources.making import SeenKeys, SourceFile, checked_image
from data.sources.metadata import plain_value
from data.sources.records import BadRecord, Record, bad_record
from data.sources.tar_members import TarMember, TarStream
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIDECARS = ("json", "cls", "txt")
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error)


@dataclass(slots=True)
class _Sample:
    """The members of one stem, collected until the next stem begins."""

    stem: str
    images: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)
    bad: list[BadRecord] = field(default_factory=list)


def read_tar(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield an item an image, in the archive's order.

    Raises:
        tarfile.TarError: damage, after everything before it has been yielded.
        OSError, EOFError, zlib.error: the file cannot be read, or its compression is damaged.
    """
    with open_stream(source.path, source.format.compression) as stream:
        yield from _ShardReader(source.file, TarStream(stream)).records()


class _ShardReader:
    """Collects the members of one shard into samples and makes records of these."""

    def __init__(self, file: str, archive: TarStream) -> None:
        self._file, self._archive = file, archive
        self._seen = SeenKeys()
        self._images = 0

    def records(self) -> Iterator[Record | BadRecord]:
        """Yield a sample's records once the next sample begins, or the archive ends or breaks."""
        sample: _Sample | None = None
        damage: Exception | None = None
        while damage is None:
            try:
                member = self._archive.next_member()
            except _DAMAGE as error:
                member, damage = None, error
            if sample is not None and (member is None or _stem(member) != sample.stem):
                yield from self._sample_records(sample)
                sample = None
            if member is None:
                break
            sample = sample or _Sample(_stem(member))
            try:
                self._collect(sample, member)
            except _DAMAGE as error:
                damage = error
        if sample is not None:
            yield from self._sample_records(sample)
        if damage is not None:
            raise damage

    def _collect(self, sample: _Sample, member: TarMember) -> None:
        """Read a member into its sample, where it is of use.

        Raises:
            BadInputError: never; what cannot be used is noted in the sample.
            tarfile.TarError: the archive ends inside the member.
        """
        suffix = member.name.rpartition("/")[2].partition(".")[2].lower()
        try:
            if _is_image(member.name):
                self._collect_image(sample, member)
            elif suffix in _SIDECARS and member.is_file:
                _collect_metadata(sample, member, suffix, self._archive)
        except BadInputError as error:
            bad = bad_record(self._file, member.name, "parse", error, member.size_bytes)
            sample.bad.append(bad)

    def _collect_image(self, sample: _Sample, member: TarMember) -> None:
        if not member.is_file:
            raise BadInputError("a link, folder or device, not an image; links are not followed")
        if member.name in sample.images:
            raise BadInputError(f"'{member.name[:100]}' occurs twice")
        if member.size_bytes + sum(map(len, sample.images.values())) > MAX_IMAGE_BYTES:
            raise BadInputError(f"{member.size_bytes} bytes; a sample may have {MAX_IMAGE_BYTES}")
        sample.images[member.name] = checked_image(self._archive.read())

    def _sample_records(self, sample: _Sample) -> Iterator[Record | BadRecord]:
        yield from sample.bad
        if not sample.images and not sample.bad and sample.metadata:
            named = BadInputError(f"no image beside {', '.join(sorted(sample.metadata))[:200]}")
            yield bad_record(self._file, sample.stem, "parse", named)
        for nth, (name, image) in enumerate(sample.images.items()):
            self._images += 1
            key = sample.stem if nth == 0 else name
            if self._seen.add(key):
                yield Record(self._file, key, self._images - 1, image, sample.metadata)
            else:
                again = BadInputError(f"the key '{key[:100]}' occurs again in this file")
                yield bad_record(self._file, f"item {self._images}", "parse", again, len(image))


def _stem(member: TarMember) -> str:
    folder, slash, last = member.name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _is_image(name: str) -> bool:
    last = name.rpartition("/")[2]
    found = None if last.startswith(".") else format_of(last, "images")
    return found is not None and found.container is Container.IMAGE


def _collect_metadata(sample: _Sample, member: TarMember, suffix: str, archive: TarStream) -> None:
    if member.size_bytes > MAX_SIDECAR_BYTES:
        raise BadInputError(f"{member.size_bytes} bytes; metadata may have {MAX_SIDECAR_BYTES}")
    text = archive.read().decode("utf-8-sig", "replace").strip()
    if suffix != "json":
        sample.metadata[suffix] = text
        return
    value = plain_value(parse_json(text, "utf-8"))
    sample.metadata |= value if isinstance(value, dict) else {"json": value}
