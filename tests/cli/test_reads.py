"""sql, the reports, status and runs over a finished lake, held against its own tables."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Invoke
    from tests.tasks.conftest import Project


def rows_of(invoke: Invoke, *arguments: str) -> list[dict[str, object]]:
    done = invoke(*arguments, "--format", "json")
    assert done.exit_code == 0, done.stderr
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows


def test_sql_answers_over_the_views(invoke: Invoke, world: Project) -> None:
    items = world.lake.read("items").to_pylist()
    counted = rows_of(invoke, "sql", "SELECT source, count(*) AS n FROM items GROUP BY ALL")
    assert {row["source"]: row["n"] for row in counted} == Counter(i["source"] for i in items)
    text = invoke("sql", "SELECT 1 AS one").stdout
    assert text == "one\n---\n  1\n"


def test_sql_takes_a_file_or_standard_input(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("SELECT 7 AS seven;\n")
    assert rows_of(invoke, "sql", "--file", str(tmp_path / "q.sql")) == [{"seven": 7}]
    for place in (["-"], ["--file", "-"]):
        done = invoke("sql", *place, "--format", "json", stdin="SELECT 8 AS eight")
        assert json.loads(done.stdout) == [{"eight": 8}]


@pytest.mark.parametrize("arguments", [[], ["select 1", "--file", "-"], ["  "]])
def test_sql_without_one_statement_is_wrong_usage(invoke: Invoke, arguments: list[str]) -> None:
    assert invoke("sql", *arguments, stdin="").exit_code == 2


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("FROM itms", 'Did you mean "items"? In the lake: all_items, anomalies,'),
        ("SELECT nope FROM items", "Candidate bindings"),
        ("SELEC 1", "syntax error"),
        ("SELECT uri::INT FROM items", "Could not convert string"),
        ("FROM read_text('/etc/hostname')", "Cannot access file"),
        ("SET threads = 1", "only statements that read"),
        ("COPY items TO 'items.csv'", "--output"),
    ],
)
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_what_duckdb_refuses_is_one_line(invoke: Invoke, query: str, told: str, form: str) -> None:
    done = invoke("sql", query, "--format", form)
    assert done.exit_code == 1
    assert done.stderr.startswith("latentlake: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_vectors_leave_as_parquet(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "vectors.parquet"
    assert invoke("sql", "FROM embeddings_words", "--output", str(path)).exit_code == 0
    assert pq.read_schema(path).field("vector").type.list_size == 16
    assert pq.read_metadata(path).num_rows == 80


def test_duplicates_have_names(invoke: Invoke, world: Project) -> None:
    uri_of = {i["item_id"]: i["uri"] for i in world.lake.read("items").to_pylist()}
    expected = {
        (row["space"], uri_of[row["item_id"]], uri_of[row["twin_id"]], row["kind"])
        for row in world.lake.read("duplicates").to_pylist()
    }
    found = rows_of(invoke, "duplicates")
    assert {(r["space"], r["removed"], r["kept"], r["kind"]) for r in found} == expected
    exact = rows_of(invoke, "duplicates", "--kind", "exact", "--space", "words")
    assert {str(row["removed"]).partition("#")[2] for row in exact} <= {"copy", "1001.0329"}
    assert len(exact) == 1
    assert len(rows_of(invoke, "duplicates", "--limit", "1")) == 1


def test_clusters_add_up_and_list_their_members(invoke: Invoke, world: Project) -> None:
    summary = [r for r in rows_of(invoke, "clusters") if r["space"] == "words"]
    assert sum(int(str(row["size"])) for row in summary) == 80
    for row in summary:
        number = str(row["cluster_id"])
        members = rows_of(invoke, "clusters", "--space", "words", "--id", number)
        assert row["medoid"] in [m["uri"] for m in members if m["is_medoid"]]
        distances = [float(str(m["distance"])) for m in members]
        assert distances == sorted(distances)
    assert invoke("clusters", "--id", "0").stderr.startswith(
        "latentlake: a cluster's number needs its space"
    )
    assert world.settings.space("words").name == "words"


def test_anomalies_are_ranked_and_explained(invoke: Invoke, world: Project) -> None:
    found = rows_of(invoke, "anomalies", "-n", "3")
    assert [(r["space"], r["rank"]) for r in found] == [
        (space, rank) for space in ("cnn", "words") for rank in (1, 2, 3)
    ]
    uris: dict[str, set[str]] = {}
    for item in world.lake.read("items").to_pylist():
        uris.setdefault(item["content_id"], set()).add(item["uri"])
    stored = {(r["space"], r["rank"]): r for r in world.lake.read("anomalies").to_pylist()}
    for row in found:
        truth = stored[row["space"], row["rank"]]
        assert row["uri"] in uris[truth["content_id"]]
        assert row["normal_neighbours"] == [min(uris[c]) for c in truth["normal_neighbours"]]


@pytest.mark.parametrize("command", ["duplicates", "clusters", "anomalies"])
def test_an_unknown_space_is_told_the_nearest(invoke: Invoke, command: str) -> None:
    done = invoke(command, "--space", "wrds")
    assert done.exit_code == 1
    assert (
        "no space 'wrds'. Did you mean 'words'? In the lake: cnn, words, words_vocabulary."
        in done.stderr
    )


def test_status_counts_what_is_there(invoke: Invoke, world: Project) -> None:
    (seen,) = json.loads(invoke("status", "--format", "json").stdout)
    assert seen["root"] == world.settings.root
    assert seen["snapshot"] == 1
    sources = {source["name"]: source for source in seen["sources"]}
    assert (sources["photos"]["items"], sources["photos"]["contents"]) == (8, 7)
    assert (sources["photos"]["quarantined"], sources["notes"]["quarantined"]) == (1, 0)
    assert (sources["notes"]["items"], sources["notes"]["contents"]) == (81, 80)
    spaces = {space["name"]: space for space in seen["spaces"]}
    assert (spaces["cnn"]["vectors"], spaces["words"]["vectors"]) == (6, 80)
    assert spaces["words"]["index"] == "Flat"
    assert spaces["words"]["recall"] == 1
    text = invoke("status").stdout
    assert "80 of 16 dimensions, cosine" in text
    assert "Flat over 80, recall@10 1.000" in text
    assert "queries a second (counted), 64 bytes a vector" in text
    figures = invoke("status", "--format", "csv").stdout
    assert '"space","words","vectors","80"' in figures


def test_runs_say_what_was_done(invoke: Invoke, world: Project) -> None:
    (run,) = rows_of(invoke, "runs")
    assert run["run_id"] == world.lake.snapshot().run_id
    counts = run["counts"]
    assert isinstance(counts, dict)
    assert counts["ingest notes"]["new"] == 81
    assert "ingest notes 81 new" in str(run["did"])
