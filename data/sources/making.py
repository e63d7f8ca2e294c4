"""From raw values to records: what every reader of many-item files has in common."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

from data.sources.limits import MAX_IMAGE_BYTES, MAX_TEXT_CHARS
from data.sources.metadata import plain_value
from data.sources.records import BadRecord, Record, VectorBytes, bad_record
from data.sources.text_lines import open_text, refuse_marked
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    import io
    from contextlib import AbstractContextManager
    from pathlib import Path

    from data.sources.formats import FileFormat
    from data.sources.remote import RemoteFile
    from latentlake.source_settings import SourceSettings


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be read.

    Attributes:
        path: where it is, on disk or on S3.
        file: what it is called in the source.
        format: how it is read.
        settings: the source's.
    """

    path: Path | RemoteFile
    file: str
    format: FileFormat
    settings: SourceSettings

    def open_text(self) -> AbstractContextManager[io.TextIOWrapper]:
        """Open the file as text, unpacked and decoded; see `text_lines.open_text`."""
        return open_text(self.path, self.format.compression, self.settings.encoding)

    @property
    def folder(self) -> dict[str, object]:
        """The metadata of a file that is one item: the folders that it is in, "" at the top."""
        return {"folder": self.file.rpartition("/")[0]}


class SeenKeys:
    """A set of keys in 16 to 32 bytes each, so that a file of millions of items can be read.

    Open addressing with linear probing over 64-bit digests; two different keys of a million share
    a digest with a probability of 3e-8.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 1024))
        self._count = 0

    def add(self, key: str) -> bool:
        """Add a key; False where it was there already."""
        digest = int.from_bytes(blake2b(key.encode("utf-8"), digest_size=8).digest(), "little") or 1
        if self._count * 2 >= len(self._slots):
            self._grow()
        is_new = self._insert(digest)
        self._count += is_new
        return is_new

    def _insert(self, digest: int) -> bool:
        slots, last = self._slots, len(self._slots) - 1
        place = digest & last
        while slots[place]:
            if slots[place] == digest:
                return False
            place = (place + 1) & last
        slots[place] = digest
        return True

    def _grow(self) -> None:
        old = self._slots
        self._slots = array("Q", bytes(16 * len(old)))
        for digest in old:
            if digest:
                self._insert(digest)


class RecordMaker:
    """Makes the records of one file that holds many items."""

    def __init__(
        self,
        source: SourceFile,
        unit: Literal["line", "row", "item"],
        *,
        keyed: bool | None = None,
    ) -> None:
        """Begin a file.

        Args:
            source: the file.
            unit: what its numbers count.
            keyed: whether its items have keys of their own; by default where `key` is configured.
        """
        self._file, self._unit = source.file, unit
        self._encoding = source.settings.encoding
        self._keyed = source.settings.key is not None if keyed is None else keyed
        self._seen = SeenKeys()

    def text(self, number: int, text: object, key: object, metadata: object) -> Record | BadRecord:
        """Make the record of a text.

        Args:
            number: the line, row or element, from 1.
            text: what stands where the text should be.
            key: what stands where the key should be; ignored where no key is configured.
            metadata: a dict of the rest.
        """
        name: str | None = None
        try:
            name = self._key(number, key)
            return Record(self._file, name, number - 1, self._checked(text), _plain(metadata))
        except BadInputError as error:
            return self._bad(number, name, error, len(text) if isinstance(text, str) else None)

    def image(
        self, number: int, image: object, key: object, metadata: object
    ) -> Record | BadRecord:
        """Make the record of an image's bytes; as `text` otherwise."""
        name: str | None = None
        try:
            name = self._key(number, key)
            return Record(self._file, name, number - 1, checked_image(image), _plain(metadata))
        except BadInputError as error:
            return self._bad(number, name, error, len(image) if isinstance(image, bytes) else None)

    def vector(
        self, number: int, vector: VectorBytes | BadInputError, key: object, metadata: object
    ) -> Record | BadRecord:
        """Make the record of a vector, or of what stands in its place; as `text` otherwise."""
        name: str | None = None
        try:
            name = self._key(number, key)
            if isinstance(vector, BadInputError):
                return self._bad(number, name, vector, None)
            return Record(self._file, name, number - 1, vector, _plain(metadata))
        except BadInputError as error:
            return self._bad(number, name, error, None)

    def bad(self, number: int, error: Exception) -> BadRecord:
        """Make the record of a line or row that cannot be taken apart."""
        return self._bad(number, None, error, None)

    def _bad(
        self, number: int, name: str | None, error: Exception, size_bytes: int | None
    ) -> BadRecord:
        name = name or (f"{self._unit} {number}" if self._keyed else str(number))
        return bad_record(self._file, name, "parse", error, size_bytes)

    def _key(self, number: int, value: object) -> str:
        if not self._keyed:
            return str(number)
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value == "":
            raise BadInputError(f"no key: {_described(value)}")
        key = str(value)
        refuse_marked(key, self._encoding)
        if not self._seen.add(key):
            raise BadInputError(f"the key '{key[:100]}' occurs again in this file")
        return key

    def _checked(self, text: object) -> str:
        if not isinstance(text, str):
            raise BadInputError(f"no text: {_described(text)}")
        refuse_marked(text, self._encoding)
        return checked_text(text)


def checked_text(text: str) -> str:
    """Return a text that is neither blank nor endless.

    Raises:
        BadInputError: it is.
    """
    if not text or text.isspace():
        raise BadInputError("empty text")
    if len(text) > MAX_TEXT_CHARS:
        raise BadInputError(f"the text is longer than {MAX_TEXT_CHARS} characters")
    return text


def checked_image(image: object) -> bytes:
    """Return the bytes of an image.

    Raises:
        BadInputError: there are none, or more than `MAX_IMAGE_BYTES`.
    """
    if not isinstance(image, bytes):
        raise BadInputError(f"no image: {_described(image)}")
    if not image:
        raise BadInputError("empty: 0 bytes")
    if len(image) > MAX_IMAGE_BYTES:
        raise BadInputError(f"{len(image)} bytes; an image may have {MAX_IMAGE_BYTES}")
    return image


def _plain(metadata: object) -> dict[str, object]:
    plain = plain_value(metadata)
    return plain if isinstance(plain, dict) else {}


def _described(value: object) -> str:
    if value is None:
        return "it is null or missing"
    return "it is empty" if value == "" else f"its type is {type(value).__name__}"
