"""From what a source yields to rows of `items` and `quarantine`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from data.content import content_id, item_id
from data.images import probe_image
from data.sources.records import BadRecord, Record, VectorBytes
from latentlake.errors import BadInputError

EXCERPT_CHARACTERS = 200
READER_VERSION = "2"
"""Raise it when a reader accepts what it refused before: quarantined files are then read again."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where and when a record was read.

    Attributes:
        source: the source's name.
        run_id: the run that reads.
        modified_ns: the file's modification time, ns since the epoch.
    """

    source: str
    run_id: str
    modified_ns: int


def describe(record: Record | BadRecord, origin: Origin) -> dict[str, Any] | BadRecord:
    """Return the record's row of `items`, or why there is none."""
    if isinstance(record, BadRecord):
        return record
    size: dict[str, Any] = {"width": None, "height": None, "text_length": None, "excerpt": None}
    if isinstance(record.payload, str):
        size |= {
            "text_length": len(record.payload),
            "excerpt": " ".join(record.payload[: 2 * EXCERPT_CHARACTERS].split())[
                :EXCERPT_CHARACTERS
            ],
        }
        size_bytes, modality = len(record.payload.encode()), "text"
    elif isinstance(record.payload, VectorBytes):
        size_bytes, modality = len(record.payload), "vector"
    else:
        size_bytes, modality = len(record.payload), "image"
        try:
            info = probe_image(record.payload)
        except BadInputError as error:
            return BadRecord(
                record.file, record.key, "identify", type(error).__name__, str(error), size_bytes
            )
        size |= {"width": info.width, "height": info.height}
    return size | {
        "item_id": item_id(origin.source, record.file, record.key),
        "source": origin.source,
        "uri": record.uri,
        "file": record.file,
        "key": record.key,
        "position": record.position,
        "modality": modality,
        "content_id": content_id(record.payload),
        "size_bytes": size_bytes,
        "modified_at": datetime.fromtimestamp(origin.modified_ns / 1e9, UTC),
        "metadata": json.dumps(record.metadata, ensure_ascii=False, sort_keys=True),
        "previous_uri": None,
        "first_run": origin.run_id,
        "last_run": origin.run_id,
        "deleted": False,
    }


def quarantine_id(source: str, uri: str, space: str | None) -> str:
    """Return the key of an input's quarantine entry: one an input and a space."""
    return content_id(json.dumps([source, uri, space]))


def quarantine_row(bad: BadRecord, source: str, run_id: str) -> dict[str, Any]:
    """Return a row of `quarantine` for an input that could not become an item."""
    return {
        "quarantine_id": quarantine_id(source, bad.uri, None),
        "source": source,
        "uri": bad.uri,
        "file": bad.file,
        "space": None,
        "content_id": None,
        "stage": bad.stage,
        "error": bad.error,
        "message": bad.message,
        "size_bytes": bad.size_bytes,
        "code": READER_VERSION,
        "run_id": run_id,
        "recorded_at": datetime.now(UTC),
    }
