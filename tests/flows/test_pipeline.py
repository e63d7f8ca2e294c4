"""The flows as Prefect runs them: together, alone, without news, and with a stage that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from data.catalog import connect
from flows.embed import embed
from flows.ingest import ingest
from flows.pipeline import pipeline
from tasks.parameters import EmbedParameters, IngestParameters, PipelineParameters
from tasks.stages.runs import RunFailedError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import Artifact

    from tests.tasks.conftest import Project


def artifact(key: str) -> Artifact:
    named = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        # Without an order the server goes by id, and ids are random.
        return client.read_artifacts(artifact_filter=named, sort=ArtifactSort.CREATED_DESC)[0]


def config(project: Project) -> str:
    return str(project.folder / "latentlake.toml")


def test_the_pipeline_builds_everything_once(project: Project) -> None:
    first = pipeline(PipelineParameters(config=config(project)))
    assert first.changed
    assert [f"{r.stage} {r.subject}" for r in first.receipts] == [
        "ingest photos",
        "ingest notes",
        "embed words",
        "embed words_vocabulary",
        "index words",
        "index words_vocabulary",
        "graph words",
        "duplicates words",
        "clusters words",
        "anomalies words",
    ]
    with connect(project.lake) as connection:
        counts = connection.sql(
            "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM embeddings_words), "
            "(SELECT count(*) FROM neighbours), (SELECT count(*) FROM anomalies), "
            "(SELECT count(*) FROM runs)"
        ).fetchall()
    assert counts == [(86, 80, 80, 80, 1)]
    summary = artifact("latentlake-pipeline")
    assert first.run_id in str(summary.data)
    assert "| embed | words |" in str(summary.data)

    before = project.versions()
    second = pipeline(PipelineParameters(config=config(project)))
    assert not second.changed
    assert second.snapshot == first.snapshot
    assert project.versions() == before
    assert "Nothing new" in str(artifact("latentlake-pipeline").data)


def test_stages_run_alone_and_add_up(project: Project) -> None:
    ingested = ingest(IngestParameters(config=config(project), sources=("notes",)))
    assert [r.subject for r in ingested] == ["notes"]
    assert project.lake.snapshot().number == 1
    embedded = embed(EmbedParameters(config=config(project)))
    assert embedded[0].counts["encoded"] == 80
    assert project.lake.snapshot().number == 2
    with connect(project.lake) as connection:
        commands = connection.sql("SELECT command FROM runs ORDER BY run_id").fetchall()
    assert commands == [("ingest",), ("embed",)]


def test_a_source_that_fails_stops_no_other(project: Project) -> None:
    (project.folder / "photos").rename(project.folder / "elsewhere")
    with pytest.raises(RunFailedError, match="source 'photos'") as failure:
        pipeline(PipelineParameters(config=config(project)))
    assert failure.value.summary.changed
    with connect(project.lake) as connection:
        assert connection.sql("SELECT count(*) FROM embeddings_words").fetchall() == [(80,)]
