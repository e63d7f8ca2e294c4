"""Vectors of one's own through every stage, held against NumPy over the very same rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.catalog import connect
from data.query_vectors import read_query_vector
from latentlake.errors import ConfigError, QueryError
from tasks.stages.searching import SearchQuery, search
from tasks.stages.spaces import retrain_space
from tests.tasks.conftest import Project, age

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.types import Matrix

CONFIG = """
[[sources]]
name = "mine"
kind = "vectors"
uri = "mine.parquet"
key = "id"
[[spaces]]
name = "own"
encoder = "vectors"
sources = ["mine"]
neighbours = 5
options = {{ {options} }}
{more}
[run]
threads = 2
shard_rows = 64
"""
ROWS, DIM = 150, 12


def clustered(rows: int = ROWS, dim: int = DIM) -> Matrix:
    random = np.random.default_rng(3)
    centres = random.normal(size=(5, dim)) * 3
    return (centres[np.arange(rows) % 5] + random.normal(size=(rows, dim))).astype(np.float32)


class Own(Project):
    """A project whose only source is a Parquet file of vectors."""

    def configure(self, options: str = "", more: str = "") -> None:
        self.folder.mkdir(exist_ok=True)
        text = CONFIG.format(options=options, more=more)
        (self.folder / "latentlake.toml").write_text(text, "utf-8")

    def put(self, rows: dict[str, Sequence[float] | Matrix | None]) -> None:
        vectors = [None if row is None else [float(v) for v in row] for row in rows.values()]
        columns = {
            "id": list(rows),
            "vector": pa.array(vectors, pa.list_(pa.float32())),
            "label": [f"label {key}" for key in rows],
        }
        path = self.folder / "mine.parquet"
        pq.write_table(pa.table(columns), path)
        age(path)

    def sql(self, statement: str) -> list[dict[str, Any]]:
        with connect(self.lake) as connection:
            rows: list[dict[str, Any]] = connection.sql(statement).to_arrow_table().to_pylist()
        return rows

    def stored(self) -> dict[str, list[float]]:
        rows = self.sql("FROM items JOIN embeddings_own USING (content_id)")
        return {row["key"]: row["vector"] for row in rows}


@pytest.fixture
def own(tmp_path: Path) -> Own:
    made = Own(tmp_path / "own")
    made.configure()
    return made


def named(vectors: Matrix) -> dict[str, Any]:
    return {f"k{i}": row for i, row in enumerate(vectors)}


def similarities(left: Matrix, right: Matrix, metric: str) -> Matrix:
    a, b = left.astype(np.float64), right.astype(np.float64)
    found = -np.square(a[:, None] - b[None]).sum(axis=2) if metric == "l2" else a @ b.T
    if metric == "cosine":
        found /= np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    result: Matrix = found.astype(np.float32)
    return result


@pytest.mark.parametrize("metric", ["cosine", "l2", "inner_product"])
def test_every_stage_agrees_with_numpy(own: Own, metric: str) -> None:
    own.configure(f'metric = "{metric}"')
    vectors = clustered()
    own.put(named(vectors))
    summary = own.run()
    assert not summary.errors
    assert own.stored() == {f"k{i}": row for i, row in enumerate(vectors.tolist())}
    (space,) = own.sql("SELECT metric, dim, modality, encoder FROM spaces")
    assert space == {"metric": metric, "dim": DIM, "modality": "vector", "encoder": "vectors"}
    truth = similarities(vectors, vectors, metric)
    np.fill_diagonal(truth, -np.inf)
    key_of = {row["content_id"]: row["key"] for row in own.sql("FROM items")}
    for row in own.sql("FROM neighbours"):
        expected = np.sort(truth[int(key_of[row["content_id"]][1:])])[::-1][:5]
        np.testing.assert_allclose(row["similarities"], expected, rtol=1e-4, atol=1e-4)
    assert len(own.sql("FROM neighbours")) == len(own.sql("FROM anomalies")) == ROWS
    assert sum(row["size"] for row in own.sql("FROM cluster_summary")) == ROWS
    query = clustered(ROWS + 1)[-1:]
    best = similarities(query, vectors, metric)[0]
    result = search(own.lake, own.settings, SearchQuery(vector=query[0], k=7))
    found = result.hits.to_pylist()
    assert [hit["uri"] for hit in found] == [f"mine.parquet#k{i}" for i in np.argsort(-best)[:7]]
    np.testing.assert_allclose([h["similarity"] for h in found], np.sort(best)[::-1][:7], rtol=1e-4)
    assert json.loads(found[0]["metadata"])["label"].startswith("label k")


def test_equal_vectors_are_one_content_with_a_kept_twin(own: Own) -> None:
    vectors = clustered(40)
    own.put(named(vectors) | {"same": vectors[3], "near": vectors[7] * 1.01})
    own.run()
    assert len(own.sql("FROM items")) == 42
    assert len(own.sql("FROM embeddings_own")) == 41
    pairs = own.sql(
        "SELECT gone.key AS gone, kept.key AS kept, kind FROM duplicates JOIN items gone "
        "USING (item_id) JOIN items kept ON kept.item_id = twin_id ORDER BY kind, gone"
    )
    assert pairs[0] == {"gone": "same", "kept": "k3", "kind": "exact"}
    assert {"gone": "near", "kept": "k7", "kind": "near"} in pairs


def test_what_cannot_be_used_is_told_and_the_rest_goes_on(own: Own) -> None:
    own.put(
        named(clustered(30))
        | {"short": [1.0], "null": None, "nan": [float("nan")] * DIM, "empty": []}
    )
    summary = own.run()
    assert not summary.errors
    rows = own.sql("SELECT uri, space, stage, message FROM quarantine")
    told = {row["uri"].partition("#")[2]: row for row in rows}
    assert set(told) == {"short", "null", "nan", "empty"}
    assert (told["short"]["space"], told["short"]["stage"]) == ("own", "encode")
    assert "a vector of 1 numbers, this space has 12" in told["short"]["message"]
    assert (told["nan"]["space"], told["nan"]["stage"]) == (None, "parse")
    assert "12 of its 12 numbers are not finite" in told["nan"]["message"]
    assert len(own.stored()) == 30


def test_rows_that_change_go_and_return(own: Own) -> None:
    first = named(clustered(40))
    own.put(first)
    own.run()
    changed = dict(first)
    del changed["k1"]
    changed["k2"] = changed["k2"] + 1
    changed["new"] = clustered(41)[40]
    own.put(changed)
    summary = own.run()
    ingest, embed = summary.receipts[:2]
    names = ("new", "changed", "vanished", "unchanged")
    assert {n: ingest.counts[n] for n in names} == dict(zip(names, (1, 1, 1, 38), strict=True))
    assert embed.counts["encoded"] == 2
    assert own.stored() == {key: row.tolist() for key, row in changed.items()}
    own.put(first)
    summary = own.run()
    assert summary.receipts[0].counts["returned"] == 1
    assert summary.receipts[1].counts["encoded"] == 0, "both vectors are still in their shards"
    assert own.stored() == {key: row.tolist() for key, row in first.items()}
    assert not own.run().changed


def test_a_length_may_be_insisted_on(own: Own) -> None:
    own.configure("dim = 3")
    own.put(named(clustered(20)) | {"odd": [1.0, 2.0, 3.0]})
    summary = own.run()
    assert summary.receipts[1].counts["rejected"] == 20
    assert own.stored() == {"odd": [1.0, 2.0, 3.0]}


def test_vectors_of_a_new_model_want_a_space_of_their_own(own: Own) -> None:
    own.configure('model = "one"')
    own.put(named(clustered(20)))
    own.run()
    own.put(named(clustered(20, 8)))
    assert own.run().receipts[1].counts["rejected"] == 20
    own.configure('model = "two"')
    summary = own.run()
    assert summary.receipts[1].counts["encoded"] == 20
    rows = own.sql("SELECT dim, is_current FROM spaces ORDER BY dim")
    assert rows == [{"dim": 8, "is_current": True}, {"dim": DIM, "is_current": False}]


def test_retraining_takes_the_length_of_the_present_vectors(own: Own) -> None:
    own.put(named(clustered(20)))
    own.run()
    own.put(named(clustered(20, 8)))
    own.ingest("mine")
    assert retrain_space(own.lake, own.settings, "own", "again").id.dim == 8


def test_a_space_without_vectors_says_so(own: Own) -> None:
    own.put({"null": None})
    own.ingest("mine")
    with pytest.raises(ConfigError, match="hold no vector yet"):
        own.embed("own")


@pytest.mark.parametrize(
    ("options", "threshold", "message"),
    [
        ("", "1.5", "is no cosine"),
        ("", "-0.5", "is no cosine"),
        ('metric = "l2"', "0.5", "write -0.25 for a distance of at most 0.5"),
    ],
)
def test_a_threshold_that_no_similarity_has_is_refused(
    own: Own, options: str, threshold: str, message: str
) -> None:
    own.configure(options, f"duplicates = {{ threshold = {threshold} }}")
    own.put(named(clustered(20)))
    with pytest.raises(ConfigError, match=message):
        own.run()


def test_a_squared_distance_finds_near_duplicates(own: Own) -> None:
    vectors = clustered(40)
    own.configure('metric = "l2"', "duplicates = { threshold = -0.25 }")
    near, far = vectors[7].copy(), vectors[9].copy()
    near[0] += 0.49
    far[0] += 0.51
    own.put(named(vectors) | {"near": near, "far": far})
    own.run()
    (row,) = own.sql("SELECT similarity, kind FROM duplicates")
    assert row == {"similarity": pytest.approx(-(0.49**2), rel=1e-3), "kind": "near"}


def test_a_query_of_another_length_is_refused(own: Own) -> None:
    own.put(named(clustered(20)))
    own.run()
    with pytest.raises(QueryError, match="cannot look for this vector: a vector of 3 numbers"):
        search(own.lake, own.settings, SearchQuery(vector=np.ones(3, np.float32)))
    with pytest.raises(QueryError, match=r"no space of texts, only: own \(vectors\)"):
        search(own.lake, own.settings, SearchQuery(text="words"))


def test_a_query_is_read_from_wherever_it_is(tmp_path: Path) -> None:
    vector = np.array([1.5, -2, 0], np.float64)
    for name, saved in (("flat.npy", vector), ("row.npy", vector[None]), ("half.npy", vector)):
        np.save(tmp_path / name, saved.astype(np.float16) if name == "half.npy" else saved)
    (tmp_path / "a.json").write_text("[1.5, -2, 0]")
    given = [str(tmp_path / name) for name in ("flat.npy", "row.npy", "half.npy", "a.json")]
    for one in (*given, " [1.5,-2,0]", "[[1.5, -2, 0]]"):
        found = read_query_vector(one)
        assert found.dtype == np.float32
        assert found.tolist() == vector.tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.npy", "no such file.*--vector"),
        ("[1, 2", "no list of numbers"),
        ('["a"]', "no list of numbers"),
        ("[]", "0 numbers"),
        ("[1e999]", "not finite"),
        ("[[1, 2], [3, 4]]", r"shape \(2, 2\): look for one"),
        ("many.npy", r"shape \(3, 2.*look for one"),
        ("cut.npy", "cut short"),
        ("no.npy", "no .npy file"),
        (".", "."),
    ],
)
def test_a_query_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("many.npy", np.ones((3, 2)))
    np.save("cut.npy", np.ones(9))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-8])
    (tmp_path / "no.npy").write_bytes(b"no npy")
    with pytest.raises(QueryError, match=message):
        read_query_vector(given)
