"""JSON: a document a line, or one document that is an array or an object."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from data.sources.columns import choose_column
from data.sources.limits import MAX_TEXT_CHARS
from data.sources.making import RecordMaker, SourceFile
from data.sources.text_lines import numbered_lines, refuse_marked
from latentlake.errors import BadInputError, nearest_hint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data.sources.records import BadRecord, Record
    from latentlake.source_settings import SourceSettings

# NaN and Infinity are not JSON, but many writers write them; as metadata they count as null.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def read_json_lines(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield an item a line: an object, or a string where neither text nor key is configured.

    Blank lines are none. A line that is no JSON is bad, and the reading goes on with the next.

    Raises:
        BadInputError: no text key is configured and the first object has no obvious one.
        OSError, EOFError, zlib.error: the file cannot be read, or its compression is damaged.
    """
    with source.open_text() as stream:
        lines = _parsed_lines(source, numbered_lines(stream))
        yield from _records(source, RecordMaker(source, "line"), lines)


def read_json(source: SourceFile) -> Iterator[Record | BadRecord]:
    """Yield the items of a .json file, which is JSON lines, or one array, or one object.

    An array's elements are numbered from 1. A file of one object over several lines is one item.

    Raises:
        BadInputError: as `read_json_lines`, or an array or object that is no JSON or too long.
        OSError, EOFError, zlib.error: as `read_json_lines`.
    """
    if _begins_with_a_document_line(source):
        yield from read_json_lines(source)
        return
    with source.open_text() as stream:
        text = stream.read(MAX_TEXT_CHARS + 1)
    if len(text) > MAX_TEXT_CHARS:
        raise BadInputError(
            f"a JSON document of more than {MAX_TEXT_CHARS} characters; write a document a line"
        )
    document = parse_json(text, source.settings.encoding)
    elements = document if isinstance(document, list) else [document]
    yield from _records(source, RecordMaker(source, "item"), enumerate(elements, 1))


def parse_json(text: str, encoding: str) -> object:
    """Parse one JSON document.

    Raises:
        BadInputError: it is none, is nested too deeply, or has bytes that do not decode.
    """
    refuse_marked(text, encoding)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise BadInputError(f"no JSON: {error.msg} ({line}column {error.colno})") from error
    except RecursionError as error:
        raise BadInputError("JSON nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise BadInputError(f"no JSON: {error}") from error


def _begins_with_a_document_line(source: SourceFile) -> bool:
    with source.open_text() as stream:
        line = next((line for _, line in numbered_lines(stream) if not line.isspace()), None)
    if line is None:
        return True
    try:
        return not isinstance(parse_json(line.strip(), source.settings.encoding), list)
    except BadInputError:
        return False


def _parsed_lines(
    source: SourceFile, lines: Iterator[tuple[int, str]]
) -> Iterator[tuple[int, object]]:
    for number, line in lines:
        if not line.isspace():
            try:
                yield number, parse_json(line.strip(), source.settings.encoding)
            except BadInputError as error:
                yield number, error


def _records(
    source: SourceFile, maker: RecordMaker, documents: Iterator[tuple[int, object]]
) -> Iterator[Record | BadRecord]:
    settings, text_key = source.settings, source.settings.text
    for number, document in documents:
        if isinstance(document, dict):
            text_key = text_key or _obvious_text(settings, document)
            yield _object_record(maker, number, document, text_key, settings.key)
        elif isinstance(document, str) and settings.text is None and settings.key is None:
            yield maker.text(number, document, None, {})
        elif isinstance(document, BadInputError):
            yield maker.bad(number, document)
        else:
            found = type(document).__name__
            yield maker.bad(number, BadInputError(f"a JSON object is needed, this is a {found}"))


def _object_record(
    maker: RecordMaker, number: int, document: dict[str, object], text_key: str, key: str | None
) -> Record | BadRecord:
    if text_key not in document:
        hint = nearest_hint(text_key, document)
        return maker.bad(number, BadInputError(f"no key '{text_key}'.{hint}"))
    metadata = {name: value for name, value in document.items() if name != text_key}
    return maker.text(number, document[text_key], document.get(key) if key else None, metadata)


def _obvious_text(settings: SourceSettings, document: dict[str, object]) -> str:
    texts = [
        name for name, value in document.items() if isinstance(value, str) and name != settings.key
    ]
    return choose_column("text", None, list(document), texts)
