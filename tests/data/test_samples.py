"""The bundled samples are what their truth file says they are."""

from __future__ import annotations

import gzip
import hashlib
import json
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

Truth = dict[str, Any]


@pytest.fixture(scope="module")
def truth(samples: Path) -> Truth:
    loaded: Truth = json.loads((samples / "truth.json").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def lines(samples: Path) -> list[str]:
    with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as file:
        return file.read().splitlines()


@pytest.fixture(scope="module")
def papers(lines: list[str], truth: Truth) -> dict[str, dict[str, str]]:
    broken = {entry["line"] for entry in truth["abstracts"]["quarantined"] if "line" in entry}
    rows = [json.loads(line) for number, line in enumerate(lines, 1) if number not in broken]
    return {row["arxiv_id"]: row for row in rows}


def thumbnail(path: Path) -> npt.NDArray[np.float32]:
    """Return 32 x 32 grey levels, standardised, for a coarse comparison of two pictures."""
    with Image.open(path) as file:
        grey = np.asarray(file.convert("L").resize((32, 32)), dtype=np.float32)
    standardised: npt.NDArray[np.float32] = (grey - grey.mean()) / grey.std()
    return standardised


def word_triples(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def test_all_is_small_licensed_and_described(samples: Path) -> None:
    files = [path for path in samples.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files if "lake" not in path.parts]
    assert sum(sizes) < 6_000_000
    assert max(sizes) < 500_000
    assert "CC0 1.0 Universal" in (samples / "LICENSE").read_text(encoding="utf-8")
    assert "arXiv" in (samples / "README.md").read_text(encoding="utf-8")


def test_there_are_enough_photos_in_every_class(samples: Path, truth: Truth) -> None:
    photos = [path for path in (samples / "photos").rglob("*") if path.is_file()]
    assert len(photos) == truth["photos"]["items"] >= 220
    classes = Counter(path.relative_to(samples / "photos").parts[0] for path in photos)
    assert len(classes) == 10
    assert min(classes.values()) >= 24


def test_exactly_the_planted_photos_cannot_be_read(samples: Path, truth: Truth) -> None:
    unreadable = set()
    for path in sorted(path for path in (samples / "photos").rglob("*") if path.is_file()):
        try:
            with Image.open(path) as file:
                file.load()
        except OSError:
            unreadable.add(path.relative_to(samples / "photos").as_posix())
    assert unreadable == {entry["path"] for entry in truth["photos"]["quarantined"]}


def test_exactly_the_planted_copies_have_equal_bytes(samples: Path, truth: Truth) -> None:
    by_digest: dict[str, set[str]] = {}
    for path in (path for path in (samples / "photos").rglob("*") if path.is_file()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.relative_to(samples / "photos").as_posix()
        by_digest.setdefault(digest, set()).add(name)
    groups = [names for names in by_digest.values() if len(names) > 1]
    planted = [{pair["original"], pair["copy"]} for pair in truth["photos"]["exact"]]
    assert len(planted) == 3
    assert sorted(groups, key=sorted) == sorted(planted, key=sorted)


def test_planted_near_photos_look_alike_and_are_not_equal(samples: Path, truth: Truth) -> None:
    pairs = truth["photos"]["near"]
    assert len(pairs) == 10
    for pair in pairs:
        original, copy = (samples / "photos" / pair[side] for side in ("original", "copy"))
        assert original.read_bytes() != copy.read_bytes()
        alike = float(np.mean(thumbnail(original) * thumbnail(copy)))
        assert alike > 0.8, f"{pair['change']}: correlation {alike:.2f}"


def test_an_outlier_has_an_alpha_channel(samples: Path, truth: Truth) -> None:
    modes = {}
    for name in truth["photos"]["outliers"]:
        with Image.open(samples / "photos" / name) as file:
            modes[name] = file.mode
    assert len(modes) == 3
    assert "RGBA" in modes.values()


def test_exactly_the_planted_line_is_no_json(lines: list[str], truth: Truth) -> None:
    def is_json(line: str) -> bool:
        try:
            json.loads(line)
        except ValueError:
            return False
        return True

    wrong = [number for number, line in enumerate(lines, 1) if not is_json(line)]
    assert wrong == [e["line"] for e in truth["abstracts"]["quarantined"] if "line" in e]
    assert len(lines) == truth["abstracts"]["items"]


def test_abstracts_are_balanced_and_have_all_keys(papers: dict[str, dict[str, str]]) -> None:
    keys = {"arxiv_id", "title", "abstract", "primary_cat", "created"}
    assert all(set(row) == keys for row in papers.values())
    categories = Counter(row["primary_cat"] for row in papers.values())
    del categories["none"]
    assert len(categories) == 8
    assert sum(categories.values()) >= 1_000
    assert max(categories.values()) - min(categories.values()) < 15


def test_planted_texts_are_what_they_are_called(
    papers: dict[str, dict[str, str]], truth: Truth
) -> None:
    planted = truth["abstracts"]
    by_key = {entry["key"]: entry["reason"] for entry in planted["quarantined"] if "key" in entry}
    assert by_key == {"empty": "empty", "no-letters": "no known word"}
    assert papers["empty"]["abstract"] == ""
    assert not any(letter.isalpha() for letter in papers["no-letters"]["abstract"])
    assert set(planted["outliers"]) <= set(papers)


def test_exactly_the_planted_abstracts_are_equal(
    papers: dict[str, dict[str, str]], truth: Truth
) -> None:
    by_text: dict[str, set[str]] = {}
    for key, row in papers.items():
        by_text.setdefault(row["abstract"], set()).add(key)
    groups = [keys for keys in by_text.values() if len(keys) > 1]
    planted = [{pair["original"], pair["copy"]} for pair in truth["abstracts"]["exact"]]
    assert len(planted) == 3
    assert sorted(groups, key=sorted) == sorted(planted, key=sorted)


def test_planted_revisions_share_most_words(
    papers: dict[str, dict[str, str]], truth: Truth
) -> None:
    pairs = truth["abstracts"]["near"]
    assert len(pairs) == 10
    for pair in pairs:
        first, second = (
            word_triples(papers[pair[side]]["abstract"]) for side in ("original", "copy")
        )
        jaccard = len(first & second) / len(first | second)
        assert jaccard == pytest.approx(pair["jaccard"], abs=0.15)
        assert jaccard < 1


def test_the_configuration_names_both_sources_and_their_spaces(samples: Path) -> None:
    config = tomllib.loads((samples / "latentlake.toml").read_text(encoding="utf-8"))
    uris = {source["name"]: source["uri"] for source in config["sources"]}
    assert all((samples / uri).exists() for uri in uris.values())
    spaces = {space["name"]: space["sources"] for space in config["spaces"]}
    assert spaces == {"cnn": ["photos"], "words": ["abstracts"]}
