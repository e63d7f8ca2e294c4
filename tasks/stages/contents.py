"""Contents by reference: where each was last seen, and how to read it there again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from data.content import content_id
from data.sources import open_source
from data.sources.records import Record
from latentlake.errors import BadInputError

if TYPE_CHECKING:
    import pyarrow as pa

    from data.sources import Source
    from latentlake.settings import Settings

Payload = bytes | str
Load = Callable[[], Payload]


@dataclass(frozen=True, slots=True)
class ContentRef:
    """A content and the first place it can be read from."""

    content_id: str
    source: str
    file: str
    key: str | None


class ContentGoneError(BadInputError):
    """The content is no longer where the last ingest saw it; the next ingest will sort it out."""

    def __init__(self, ref: ContentRef) -> None:
        self.ref = ref
        super().__init__(f"{ref.source}: {ref.file}: changed since it was ingested")


def unique_contents(items: pa.Table) -> list[ContentRef]:
    """Return one reference a content, in the items' order.

    Args:
        items: columns content_id, source, file and key.
    """
    refs: dict[str, ContentRef] = {}
    columns = (items[name].to_pylist() for name in ("content_id", "source", "file", "key"))
    for identity, source, file, key in zip(*columns, strict=True):
        if identity not in refs:
            refs[identity] = ContentRef(identity, source, file, key)
    return list(refs.values())


def payloads_of(
    settings: Settings, refs: Sequence[ContentRef]
) -> Iterator[tuple[ContentRef, Load]]:
    """Yield each reference with a function that returns its bytes or text.

    Plain files are read when the function is called, so that a pool of threads can do it. A file of
    many items is streamed once for all its references that stand next to each other; a reference
    whose record is not there any more comes last, with a function that raises.

    The functions raise ContentGoneError where the content has changed or vanished.
    """
    sources: dict[str, Source] = {}
    for (name, file), group in groupby(refs, key=lambda ref: (ref.source, ref.file)):
        if name not in sources:
            configured = settings.source(name)
            sources[name] = open_source(configured, settings.resolve(configured.uri))
        wanted = {ref.key: ref for ref in group}
        if None in wanted:
            yield wanted[None], _reading(sources[name], wanted[None])
            continue
        for record in sources[name].read_file(file):
            ref = wanted.get(record.key)
            if ref is not None and isinstance(record, Record):
                del wanted[record.key]
                yield ref, _checking(ref, record.payload)
            if not wanted:
                break
        for ref in wanted.values():
            yield ref, _reading(sources[name], ref)


def _reading(source: Source, ref: ContentRef) -> Load:
    def load() -> Payload:
        if ref.key is None:
            for record in source.read_file(ref.file):
                if isinstance(record, Record):
                    return _checked(ref, record.payload)
        raise ContentGoneError(ref)

    return load


def _checking(ref: ContentRef, payload: Payload) -> Load:
    return lambda: _checked(ref, payload)


def _checked(ref: ContentRef, payload: Payload) -> Payload:
    if content_id(payload) != ref.content_id:
        raise ContentGoneError(ref)
    return payload
