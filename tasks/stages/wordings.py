"""The table `wordings`: what texts are compared by, taken once a content.

A row depends on its text alone, so rows are committed as they come: a run that dies loses one file
of them at most, and spaces over the same texts share them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from data.changes import append_rows
from data.normal_forms import NORMAL_FORM, text_digest
from data.schemas import WORDINGS
from latentlake.errors import BadInputError
from latentlake.progress import report_progress
from models.analysis.lexical import WORDING, band_keys, shingles
from tasks.stages.budget import working_on
from tasks.stages.content_rows import drop_other_rules, pending_payloads
from tasks.stages.contents import view_first_places
from tasks.stages.preparing import prepared_contents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from data.catalog import SpaceRow
    from data.lake import Lake
    from data.workspace import Workspace
    from latentlake.settings import Settings
    from tasks.stages.contents import ContentRef

logger = logging.getLogger(__name__)

RULES: Final = f"{NORMAL_FORM}, {WORDING}"
"""What a row was made by; rows of other rules are made anew."""

_AT_ONCE: Final = 256
_SIGNED_CHARS: Final = 1 << 20
"""Texts whose words are held at once, some 100 bytes each; a longer text goes alone."""
_PART_ROWS, _PART_BYTES = 4096, 8 * 2**20


@dataclass(frozen=True, slots=True)
class Wording:
    """What a text is compared by.

    Attributes:
        normalised: the digest of its normal form.
        bands: its band keys, 4 bytes each, little-endian; empty where it has no words.
        shingles: the hashes of its word triples, 8 bytes each, ascending, little-endian.
    """

    normalised: str
    bands: bytes
    shingles: bytes


def complete_wordings(lake: Lake, settings: Settings, space: SpaceRow, run_id: str) -> int:
    """Read the texts of a space's sources that have no row yet, and add theirs.

    Returns:
        How many rows were added; texts that cannot be read just now are left for the next time.
    """
    drop_other_rules(lake, settings, "wordings", RULES, run_id)
    with working_on(lake, settings, "wordings") as work:
        work.view_table(lake, "wordings")
        known = "SELECT content_id FROM wordings"
        view_first_places(work, lake, settings.space(space.id.name).sources, known)
        work.execute("CREATE VIEW pending AS FROM first_places")
        rows = _rows(settings, work, f"duplicates {space.label}: wording")
        return append_rows(lake, "wordings", rows, run_id)


class Signer:
    """Takes the wording of texts; what `prepared_contents` asks of an encoder."""

    def prepare(self, item: str) -> Wording:
        """Return the wording of one text."""
        return self.prepare_all([item])[0]

    def prepare_all(self, items: Sequence[str]) -> list[Wording]:
        """Return the wording of each text."""
        made: list[Wording] = []
        part: list[str] = []
        for item in items:
            part.append(item)
            if sum(map(len, part)) >= _SIGNED_CHARS:
                made += _signed(part)
                part = []
        return made + _signed(part)


def _signed(texts: list[str]) -> list[Wording]:
    if not texts:
        return []
    sets = shingles(texts)
    keys, hashes = band_keys(sets).astype("<u4"), sets.hashes.astype("<u8")
    return [
        Wording(
            text_digest(text),
            keys[at].tobytes() if sets.counts[at] else b"",
            hashes[sets.offsets[at] : sets.offsets[at + 1]].tobytes(),
        )
        for at, text in enumerate(texts)
    ]


def _rows(settings: Settings, work: Workspace, stage: str) -> Iterator[pa.Table]:
    total, held, size = work.count("pending"), [], 0
    contents = prepared_contents(Signer(), settings, pending_payloads(settings, work), _AT_ONCE)
    for done, (ref, made) in enumerate(contents, 1):
        if isinstance(made, BadInputError):
            logger.warning("%s", made)
            continue
        held.append(_row(ref, made))
        size += len(made.shingles)
        if len(held) == _PART_ROWS or size >= _PART_BYTES:
            yield pa.Table.from_pylist(held, schema=WORDINGS.columns)
            held, size = [], 0
            report_progress(stage, done, total, "texts")
    if held:
        yield pa.Table.from_pylist(held, schema=WORDINGS.columns)
        report_progress(stage, total, total, "texts")


def _row(ref: ContentRef, made: Wording) -> dict[str, Any]:
    return {
        "content_id": ref.content_id,
        "rules": RULES,
        "normalised": made.normalised,
        "bands": made.bands,
        "shingles": made.shingles,
    }
