"""The abstracts of data/samples, from arXiv's metadata (CC0)."""

from __future__ import annotations

import csv
import gzip
import json
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sample_truth import Planted, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

CATEGORIES = (
    "cs.DB",
    "cs.GT",
    "cs.RO",
    "math.LO",
    "physics.geo-ph",
    "physics.med-ph",
    "q-bio.NC",
    "q-fin.ST",
)
ABSTRACTS_PER_CATEGORY = 128
SHORTEST, LONGEST = 300, 1400
"""Characters; with them the gzipped file stays below the repository's limit of 500 kB."""
REVISIONS = 10
LEAST_ALIKE, MOST_ALIKE = 0.6, 0.99
"""Jaccard similarity of the word 3-grams of the two versions of an abstract."""
ARXIV_ID = re.compile(r"0[7-9]\d\d\.\d{4}|1[0-4]\d\d\.\d{4}|1[5-9]\d\d\.\d{5}")
"""The mirror went through floats: ids that lost a zero or gained digits are not taken."""


@dataclass(frozen=True, slots=True)
class Abstract:
    """One line of abstracts.jsonl.gz."""

    arxiv_id: str
    title: str
    abstract: str
    primary_cat: str
    created: str

    def line(self) -> str:
        """Return the JSON line, keys in the order of the fields."""
        return json.dumps(asdict(self), ensure_ascii=False)


def read_abstracts(path: Path) -> list[Abstract]:
    """Read the papers of the eight categories whose id survived, sorted by id."""
    table = pq.read_table(path, columns=list(Abstract.__dataclass_fields__))
    wanted = pa.array(CATEGORIES, pa.large_string())
    table = table.filter(pc.is_in(table["primary_cat"], value_set=wanted))
    papers = [Abstract(**row) for row in table.to_pylist()]
    return sorted(
        (paper for paper in papers if ARXIV_ID.fullmatch(paper.arxiv_id)),
        key=lambda paper: paper.arxiv_id,
    )


@dataclass(frozen=True, slots=True)
class Revision:
    """A paper and what its abstract said in the dump of another year."""

    paper: Abstract
    other_text: str
    jaccard: float


def read_revisions(folder: Path, papers: Sequence[Abstract]) -> list[Revision]:
    """Find real author revisions of the given papers, most alike last."""
    by_text = {paper.abstract: paper for paper in papers if len(paper.abstract) <= LONGEST}
    found = []
    for text_a, text_b, jaccard in read_pairs(folder):
        # One side is the 2020 dump's text, which the papers hold; the other is of the year before.
        known_a, known_b = by_text.get(text_a), by_text.get(text_b)
        if known_a and not known_b:
            found.append(Revision(known_a, text_b, jaccard))
        elif known_b and not known_a:
            found.append(Revision(known_b, text_a, jaccard))
    return sorted(found, key=lambda revision: (revision.jaccard, revision.paper.arxiv_id))


def read_pairs(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yield both texts and the Jaccard similarity of each revision neither far off nor equal."""
    with gzip.open(folder / "arxiv_revisions_docs.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    with (folder / "arxiv_revisions_truth.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            jaccard = float(row["jaccard_word3"])
            if row["kind"] == "revision" and LEAST_ALIKE <= jaccard <= MOST_ALIKE:
                yield texts[row["id_a"]], texts[row["id_b"]], jaccard


ADVERT = (
    "Buy one pair of boots and get the second pair for free, this weekend only! Our shop in the "
    "high street opens at nine. Bring this voucher, bring your friends, and win a holiday for two "
    "by the sea. No refund on sale items. Follow us for more offers and free delivery."
)
GERMAN = (
    "Am Morgen war die Stadt still, und in den Gassen lag so viel Schnee, dass man kaum gehen "
    "konnte. Die alte Frau im Haus an der Ecke machte das Fenster auf, rief nach dem Hund und "
    "sah dann lange in die Berge. War es nicht genau so in jenem Winter, in dem er ging?"
)


def make_abstracts(folder: Path, out: Path) -> Planted:
    """Write abstracts.jsonl.gz, balanced over the categories, and plant what reports look for."""
    papers = read_abstracts(folder / "arxiv_abstracts.parquet")
    revisions = spread(read_revisions(folder, papers), REVISIONS)
    chosen = {paper.arxiv_id: paper for paper in (revision.paper for revision in revisions)}
    for category in CATEGORIES:
        inside = [paper for paper in papers if paper.primary_cat == category]
        taken = [paper for paper in inside if paper.arxiv_id in chosen]
        rest = [
            paper
            for paper in inside
            if paper.arxiv_id not in chosen and SHORTEST <= len(paper.abstract) <= LONGEST
        ]
        for paper in spread(rest, ABSTRACTS_PER_CATEGORY - len(taken)):
            chosen[paper.arxiv_id] = paper
    lines = sorted(chosen.values(), key=lambda paper: paper.arxiv_id)
    planted = Planted()
    lines += planted_abstracts(lines, revisions, planted)
    write_abstracts([paper.line() for paper in lines], out, planted)
    return planted


def planted_abstracts(
    papers: Sequence[Abstract], revisions: Sequence[Revision], planted: Planted
) -> list[Abstract]:
    """Return the lines to append: revisions, exact copies, outliers, texts without words."""
    added = []
    for revision in revisions:
        original = revision.paper.arxiv_id
        added.append(
            replace(revision.paper, arxiv_id=f"{original}-revision", abstract=revision.other_text)
        )
        planted.near.append(
            {"original": original, "copy": f"{original}-revision", "jaccard": revision.jaccard}
        )
    for paper in spread(papers[17:], 3):
        added.append(replace(paper, arxiv_id=f"{paper.arxiv_id}-copy"))
        planted.exact.append({"original": paper.arxiv_id, "copy": f"{paper.arxiv_id}-copy"})
    for key, text in (("german", GERMAN), ("advert", ADVERT)):
        added.append(Abstract(key, key.capitalize(), text, "none", "2020-01-01"))
        planted.outliers.append(key)
    for key, text in (("empty", ""), ("no-letters", "... -- !? ++ == ... §§ ***")):
        added.append(Abstract(key, key.capitalize(), text, "none", "2020-01-01"))
    planted.quarantined += [
        {"key": "empty", "reason": "empty"},
        {"key": "no-letters", "reason": "no known word"},
    ]
    return added


def write_abstracts(lines: list[str], out: Path, planted: Planted) -> None:
    """Write the gzipped lines with one cut in half put among them; no time stamp inside."""
    half = lines[100][: len(lines[100]) // 2]
    lines.insert(500, half)
    planted.quarantined.append({"line": 501, "reason": "malformed JSON"})
    planted.items = len(lines)
    payload = "".join(f"{line}\n" for line in lines).encode()
    out.write_bytes(gzip.compress(payload, compresslevel=9, mtime=0))
