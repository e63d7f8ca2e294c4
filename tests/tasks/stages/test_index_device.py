"""The setting `index.device`: where a stored index is searched, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from data.catalog import connect
from latentlake.errors import ConfigError
from models.indexes.faiss_library import library
from tasks.stages import index_device
from tasks.stages.indexing import INDEX_FILE
from tasks.stages.nearest import add_nearest
from tasks.stages.searching import SearchQuery, search

if TYPE_CHECKING:
    from tests.tasks.conftest import Project

QUERY = SearchQuery(text="the group of a theorem", k=5)
SQL = (
    "SELECT content_id, similarity FROM nearest('words', (SELECT min(item_id) FROM items), k := 4)"
)


def wishing(project: Project, index: str) -> None:
    config = project.folder / "latentlake.toml"
    text = config.read_text("utf-8")
    assert text.count("neighbours = 5\n") >= 1
    config.write_text(text.replace("neighbours = 5\n", f"neighbours = 5\nindex = {index}\n"))


def hits(project: Project) -> list[dict[str, Any]]:
    found = search(project.lake, project.settings, QUERY).hits
    rows: list[dict[str, Any]] = found.select(["item_id", "similarity"]).to_pylist()
    return rows


def nearest(project: Project) -> list[Any]:
    with connect(project.lake) as connection:
        add_nearest(connection, project.lake, project.settings)
        return connection.sql(SQL).fetchall()


def pretend_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let FAISS copy to a GPU that is none; return what was copied."""
    copied: list[Any] = []

    def copy(*given: Any) -> Any:
        copied.append(given[2])
        return given[2]

    for name, value in {
        "StandardGpuResources": object,
        "GpuClonerOptions": SimpleNamespace,
        "get_num_gpus": lambda: 1,
        "index_cpu_to_gpu": copy,
    }.items():
        monkeypatch.setattr(library(), name, value, raising=False)
    return copied


def test_a_gpu_searches_the_same_files(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.run()
    expected, expected_in_sql = hits(project), nearest(project)
    files = {path: path.read_bytes() for path in project.folder.rglob(INDEX_FILE)}
    versions = project.versions()
    wishing(project, '{ device = "cuda" }')
    project.run()
    assert {path: path.read_bytes() for path in project.folder.rglob(INDEX_FILE)} == files
    assert project.versions()["tables/builds"] == versions["tables/builds"]
    copied = pretend_gpu(monkeypatch)
    assert hits(project) == expected
    assert len(copied) == 1
    assert nearest(project) == expected_in_sql
    assert len(copied) == 2


def test_a_kind_that_faiss_cannot_copy_is_told_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wishing(project, '{ kind = "hnsw", device = "cuda" }')
    project.run()
    copied = pretend_gpu(monkeypatch)
    index_device._say_once.cache_clear()
    assert hits(project) == hits(project)
    (message,) = (record.getMessage() for record in caplog.records if "GPU" in record.message)
    assert message.startswith(
        "space 'words' is searched on the processor: FAISS copies no 'HNSW32'"
    )
    assert "flat, ivf_flat, ivf_sqfp16, ivf_sq8" in message
    assert copied == []


@pytest.mark.parametrize("kind", ["flat", "hnsw"])
def test_without_a_gpu_a_search_says_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    wishing(project, f'{{ kind = "{kind}", device = "cuda" }}')
    assert not project.run().errors
    monkeypatch.delattr(library(), "StandardGpuResources", raising=False)
    with pytest.raises(ConfigError, match=r"pip install '\.\[gpu\]'.*index\.device = 'cpu'"):
        hits(project)


def test_an_unknown_device_is_refused(project: Project) -> None:
    wishing(project, '{ device = "gpu" }')
    with pytest.raises(ConfigError, match=r"index\.device"):
        _ = project.settings
