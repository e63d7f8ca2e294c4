"""The kept set as files: whole, under safe names, never outside the folder, and gone on with."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc
import pytest

from data.content import content_id
from data.lake import Lake
from latentlake.errors import ConfigError
from latentlake.settings import Settings, load_settings
from tasks.stages.ingesting import ingest_source
from tasks.stages.kept_names import KeptNames, safe_name
from tasks.stages.kept_sets import lay_out
from tests.tasks.conftest import age

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.stages.kept_sets import Way

CONFIG = """
[[sources]]
name = "photos"
kind = "images"
uri = "photos"
[[sources]]
name = "shards"
kind = "images"
uri = "shards.tar"
[[sources]]
name = "notes"
kind = "text"
uri = "notes.jsonl"
text = "text"
key = "id"
"""
KEYS = ("../../up", "a/b", "A", "a", "..", "x" * 400, "tab\tbreak\n", ".hidden", "n.txt", "n")


@pytest.fixture
def folder(tmp_path: Path, samples: Path) -> Path:
    """Photos with odd names, others in a tar, and notes whose keys are no file names."""
    made = tmp_path / "project"
    (made / "photos" / "deep").mkdir(parents=True)
    (made / "latentlake.toml").write_text(CONFIG)
    pictures = sorted((samples / "photos" / "hat").iterdir())[:4]
    for name, picture in zip((b"plain.jpg", b"deep/\xff.jpg", b"a%41.jpg"), pictures, strict=False):
        place = made / "photos" / os.fsdecode(name)
        place.write_bytes(picture.read_bytes())
        age(place)
    with tarfile.open(made / "shards.tar", "w") as tar:
        for inner in ("0001.jpg", "sub/0001.jpg"):
            member = tarfile.TarInfo(inner)
            member.size = len(raw := pictures[3].read_bytes() + inner.encode())
            tar.addfile(member, io.BytesIO(raw))
    rows = [{"id": key, "text": f"note {n} é"} for n, key in enumerate(KEYS)]
    (made / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    age(made / "shards.tar")
    age(made / "notes.jsonl")
    return made


def items_of(folder: Path, *sources: str) -> tuple[Settings, pa.Table]:
    settings = load_settings(folder / "latentlake.toml")
    lake = Lake(settings.root)
    for source in settings.sources:
        ingest_source(lake, settings, source.name, "run")
    items = lake.read("items")
    chosen = [row for row in range(items.num_rows) if items["source"][row].as_py() in sources]
    return settings, items.take(chosen)


def contents(folder: Path) -> list[str]:
    files = [Path(base, name) for base, _, names in os.walk(folder) for name in names]
    return sorted(content_id(path.read_bytes()) for path in files)


def test_copies_hold_every_content_whatever_it_is_called(folder: Path, tmp_path: Path) -> None:
    settings, items = items_of(folder, "photos", "shards", "notes")
    assert items.num_rows == 3 + 2 + len(KEYS)
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / "kept"
    done = lay_out(settings, items, target, "copy")
    assert (done.made, done.there, done.missing, done.strange) == (items.num_rows, 0, (), 0)
    assert contents(target) == sorted(items["content_id"].to_pylist())
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(target)]
    assert sorted(outside) == before
    assert (target / "photos" / "plain.jpg").read_bytes() == (
        folder / "photos" / "plain.jpg"
    ).read_bytes()
    assert {path.suffix for path in (target / "notes").rglob("*") if path.is_file()} == {".txt"}
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_a_broken_call_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    settings, items = items_of(folder, "photos", "shards", "notes")
    target = tmp_path / "kept"
    lay_out(settings, items.slice(0, 7), target, "copy")
    (target / "mine.txt").write_text("not of the kept set")
    done = lay_out(settings, items, target, "copy")
    assert (done.made, done.there, done.strange) == (items.num_rows - 7, 7, 1)
    assert (target / "mine.txt").read_text() == "not of the kept set"
    assert lay_out(settings, items, target, "copy").there == items.num_rows


def test_links_are_the_files_themselves(folder: Path, tmp_path: Path) -> None:
    settings, items = items_of(folder, "photos")
    target = tmp_path / "kept"
    done = lay_out(settings, items, target, "link")
    assert (done.made, done.missing) == (3, ())
    assert (target / "photos" / "plain.jpg").samefile(folder / "photos" / "plain.jpg")
    assert contents(target) == sorted(items["content_id"].to_pylist())
    assert lay_out(settings, items, target, "link").there == 3


def test_what_cannot_be_linked_says_why(folder: Path, tmp_path: Path) -> None:
    settings, items = items_of(folder, "photos", "shards")
    with pytest.raises(ConfigError, match=r"2 items are inside of files such as shards\.tar"):
        lay_out(settings, items, tmp_path / "kept", "link")
    assert not (tmp_path / "kept").exists()
    remote = settings.source("photos").model_copy(update={"uri": "s3://bucket/photos"})
    moved = settings.model_copy(update={"sources": (remote,)})
    photos = items.filter(pc.field("source") == "photos")
    with pytest.raises(ConfigError, match="is on S3"):
        lay_out(moved, photos, tmp_path / "kept", "link")


def test_nothing_is_replaced(folder: Path, tmp_path: Path) -> None:
    settings, items = items_of(folder, "photos")
    (tmp_path / "kept" / "photos").mkdir(parents=True)
    (tmp_path / "kept" / "photos" / "plain.jpg").write_text("something of mine")
    ways: tuple[Way, Way] = ("copy", "link")
    for way in ways:
        with pytest.raises(ConfigError, match="nothing is replaced"):
            lay_out(settings, items, tmp_path / "kept", way)
    assert (tmp_path / "kept" / "photos" / "plain.jpg").read_text() == "something of mine"


def test_a_link_in_the_folder_does_not_lead_out_of_it(folder: Path, tmp_path: Path) -> None:
    settings, items = items_of(folder, "photos")
    (tmp_path / "kept").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "kept" / "photos").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="leads out of it"):
        lay_out(settings, items, tmp_path / "kept", "copy")
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("place", ["photos", "photos/kept", "lake", "lake/kept", "."])
def test_a_folder_that_would_mix_with_sources_or_lake_is_refused(folder: Path, place: str) -> None:
    settings, items = items_of(folder, "photos")
    with pytest.raises(ConfigError, match="would mix"):
        lay_out(settings, items, folder / place, "copy")
    assert lay_out(settings, items, folder / "kept", "copy").made == 3


def test_an_item_that_has_changed_is_told_and_left_out(folder: Path, tmp_path: Path) -> None:
    settings, items = items_of(folder, "photos")
    (folder / "photos" / "plain.jpg").write_bytes(b"another picture")
    done = lay_out(settings, items, tmp_path / "kept", "link")
    assert (done.made, len(done.missing)) == (2, 1)
    assert "plain.jpg: changed since" in done.missing[0]


def test_names_stay_where_they_are_good_and_apart_where_they_are_not() -> None:
    for name in ("a.jpg", "Ünïcode 1.jpeg", "a%FF.jpg", "x.y.z"):
        assert safe_name(name) == name
    bad = ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", ".a", "b" * 300, "b" * 301, "a ", "\ud800"]
    spelt = [safe_name(name) for name in bad]
    assert len(set(spelt)) == len(bad)
    for name in spelt:
        assert name not in ("", ".", "..")
        assert not name.startswith(".")
        assert not set("/\\\0\n") & set(name)
        assert len(name.encode()) < 250
    names = KeptNames()
    taken = [
        names.path_of(("s", key), ".txt", f"id{n}") for n, key in enumerate(("A", "a", "a.txt"))
    ]
    assert taken == ["s/A.txt", "s/a-id1.txt", "s/a-id2.txt"]
    assert len({path.casefold() for path in taken}) == 3
