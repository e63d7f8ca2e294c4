"""init, doctor and demo's beginnings: what is proposed, what is found, what is refused."""

from __future__ import annotations

import csv
import gzip
import json
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from latentlake.cli.main import cli
from latentlake.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Invoke

GONE = '[[sources]]\nname = "a"\nkind = "images"\nuri = "gone"\n'
PROSE = ["the quick brown fox jumps over it", "one more sentence with words", "and a third one too"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"")
    (tmp_path / "Lab notes.csv").write_text("")
    with (tmp_path / "Lab notes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["code", "remark"], *enumerate(PROSE)])
    with gzip.open(tmp_path / "papers.jsonl.gz", "wt") as lines:
        lines.writelines(
            json.dumps({"paper_id": i, "abstract": t}) + "\n" for i, t in enumerate(PROSE)
        )
    pq.write_table(pa.table({"label": ["x", "y", "z"]}), tmp_path / "labels.parquet")
    return tmp_path


def test_doctor_names_the_encoders_and_what_one_lacks(tmp_path: Path) -> None:
    if find_spec("timm") is not None:
        pytest.skip("timm is installed, and nothing is missing")
    config = tmp_path / "latentlake.toml"
    config.write_text(
        '[[sources]]\nname = "photos"\nkind = "images"\nuri = "."\n'
        '[[spaces]]\nname = "a"\nencoder = "timm:resnet50"\nsources = ["photos"]\n',
        "utf-8",
    )
    done = call("doctor", "--config", str(config), "--format", "json")
    found = {row["subject"]: row for row in json.loads(done.stdout)}
    assert "timm:<model>" in found["encoders"]["finding"]
    assert "efficientnet-lite0" in found["encoders"]["finding"]
    assert found["configuration"]["state"] == "fail"
    line = "needs the package 'timm': pip install -c constraints.txt -e '.[timm]'"
    assert line in found["configuration"]["finding"]


def test_init_proposes_what_is_there(folder: Path) -> None:
    done = call("init")
    assert done.exit_code == 0, done.stderr
    settings = load_settings(folder / "latentlake.toml")
    found = {s.name: (s.kind, s.uri, s.text, s.key) for s in settings.sources}
    assert found == {
        "pictures": ("images", "pictures", None, None),
        "lab_notes": ("text", "Lab notes.csv", "remark", None),
        "papers": ("text", "papers.jsonl.gz", "abstract", "paper_id"),
    }
    assert {s.name: (s.encoder, s.sources) for s in settings.spaces} == {
        "cnn": ("efficientnet-lite0", ("pictures",)),
        "words": ("word2vec", ("lab_notes", "papers")),
    }


def test_init_overwrites_only_by_force(folder: Path) -> None:
    (folder / "latentlake.toml").write_text("# mine")
    refused = call("init")
    assert refused.exit_code == 1
    assert "--force overwrites it" in refused.stderr
    assert (folder / "latentlake.toml").read_text() == "# mine"
    assert call("init", "--force").exit_code == 0
    assert (folder / "latentlake.toml").read_text() != "# mine"


def test_init_takes_what_is_named(folder: Path) -> None:
    done = call(
        "init", "--text", "papers.jsonl.gz", "--text-column", "abstract", "--key", "paper_id"
    )
    assert done.exit_code == 0, done.stderr
    (source,) = load_settings(folder / "latentlake.toml").sources
    assert (source.name, source.text, source.key) == ("papers", "abstract", "paper_id")


def test_init_names_the_nearest_column(folder: Path) -> None:
    done = call("init", "--text", "papers.jsonl.gz", "--text-column", "abstrct")
    assert done.exit_code == 1
    assert "no column 'abstrct'. Did you mean 'abstract'?" in done.stderr
    assert not (folder / "latentlake.toml").exists()


def test_init_of_an_empty_folder_leaves_an_example(tmp_path: Path) -> None:
    done = call("init", str(tmp_path / "new"))
    assert done.exit_code == 0
    assert "no source yet" in done.stdout
    assert load_settings(tmp_path / "new" / "latentlake.toml").sources == ()


@pytest.mark.parametrize(
    "name", ["a\x7fb", "new\nline", "quote\"s'", "esc\x1b[31m", "t\\ab", "日本"]
)
def test_init_writes_any_name_of_a_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "project"
    (folder / name).mkdir(parents=True)
    (folder / name / "a.jpg").write_bytes(b"x")
    done = call("init", str(folder))
    assert done.exit_code == 0, done.stderr
    assert "\x1b" not in done.stdout
    (source,) = load_settings(folder / "latentlake.toml").sources
    assert source.uri == name


def test_init_reads_a_folder_whose_name_is_no_text_from_the_one_above(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    (odd / "a.jpg").write_bytes(b"x")
    assert call("init", str(tmp_path)).exit_code == 0
    (source,) = load_settings(tmp_path / "latentlake.toml").sources
    assert source.uri == "."
    refused = call("init", str(tmp_path), "--images", str(odd), "--force")
    assert refused.exit_code == 1
    assert "TOML cannot write this name" in refused.stderr


def test_a_column_belongs_to_a_text() -> None:
    assert call("init", "--key", "id").exit_code == 2


def test_doctor_is_content_with_a_sound_project(invoke: Invoke) -> None:
    rows = json.loads(invoke("doctor", "--format", "json").stdout)
    states = {row["subject"]: row["state"] for row in rows}
    assert {"Python", "libraries", "FAISS", "torch", "OpenVINO", "processor", "Prefect"} <= set(
        states
    )
    assert states["configuration"] == states["lake"] == "ok"
    assert "snapshot 1" in next(r["finding"] for r in rows if r["subject"] == "lake")


def test_doctor_works_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = call("doctor").stdout
    assert "'latentlake init' begins one" in text


@pytest.mark.parametrize(
    ("config", "subject", "told"),
    [
        ("[lak]", "configuration", "Did you mean 'lake'?"),
        (
            '[[spaces]]\nname = "s"\nencoder = "efficientnet-lite"\nsources = ["a"]\n' + GONE,
            "configuration",
            "Did you mean 'efficientnet-lite0'?",
        ),
        (GONE, "source a", "is not there"),
    ],
)
def test_doctor_finds_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str, subject: str, told: str
) -> None:
    (tmp_path / "latentlake.toml").write_text(config)
    monkeypatch.chdir(tmp_path)
    done = call("doctor", "--format", "json")
    assert done.exit_code == 1
    (failed,) = [row for row in json.loads(done.stdout) if row["state"] == "fail"]
    assert failed["subject"] == subject
    assert told in failed["finding"]
    assert failed["remedy"]


def test_doctor_finds_a_damaged_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "latentlake.toml").write_text("")
    (tmp_path / "lake" / "snapshots").mkdir(parents=True)
    (tmp_path / "lake" / "snapshots" / "000000000001.json").write_text("{")
    monkeypatch.chdir(tmp_path)
    done = call("doctor")
    assert done.exit_code == 1
    assert "FAIL  lake" in done.stdout


def test_demo_leaves_a_foreign_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = call("demo", "--folder", str(tmp_path))
    assert done.exit_code == 1
    assert "choose another place by --folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_init_proposes_vectors_where_nothing_else_is_obvious(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ids, vectors = ["a", "b", "c"], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    pq.write_table(pa.table({"doc_id": ids, "emb": vectors}), tmp_path / "words.parquet")
    both = pa.table({"abstract": PROSE, "embedding": vectors})
    pq.write_table(both, tmp_path / "papers.parquet")
    pq.write_table(pa.table({"one": vectors, "two": vectors}), tmp_path / "unclear.parquet")
    feather = pa.table({"two": vectors, "embedding": vectors})
    pa.feather.write_feather(feather, str(tmp_path / "model.feather"))
    np.save(tmp_path / "matrix.npy", np.ones((3, 2)))
    (tmp_path / "matrix.ids.txt").write_text("a\nb\nc")
    np.save(tmp_path / "list.npy", np.ones(3))
    (tmp_path / "broken.npy").write_bytes(b"no npy")
    done = call("init")
    assert done.exit_code == 0, done.stderr
    settings = load_settings(tmp_path / "latentlake.toml")
    found = {s.name: (s.kind, s.text, s.vector, s.key, s.keys) for s in settings.sources}
    assert found == {
        "matrix": ("vectors", None, None, None, "{stem}.ids.txt"),
        "model": ("vectors", None, "embedding", None, None),
        "papers": ("text", "abstract", None, None, None),
        "words": ("vectors", None, "emb", "doc_id", None),
    }
    assert {s.name: (s.encoder, s.sources) for s in settings.spaces} == {
        "matrix": ("vectors", ("matrix",)),
        "model": ("vectors", ("model",)),
        "words": ("word2vec", ("papers",)),
        "words_vectors": ("vectors", ("words",)),
    }
    assert "source words: vectors in words.parquet, vectors in 'emb', named by" in done.stdout
    assert call("doctor").exit_code == 0


def test_init_takes_the_vectors_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = pa.table({"code": ["a"], "one": [[1.0]], "two": [[2.0]]})
    pq.write_table(table, tmp_path / "v.parquet")
    done = call("init", "--vectors", "v.parquet", "--vector-column", "two", "--key", "code")
    assert done.exit_code == 0, done.stderr
    (source,) = load_settings(tmp_path / "latentlake.toml").sources
    assert (source.kind, source.vector, source.key) == ("vectors", "two", "code")
    refused = call("init", "--force", "--vectors", "v.parquet", "--vector-column", "tow")
    assert "no column 'tow'. Did you mean 'two'?" in refused.stderr
    assert call("init", "--force", "--vector-column", "two").exit_code == 2
