"""The whole project with its lake and its sources on S3, beside the same one in folders."""

from __future__ import annotations

import gzip
import io
import json
import logging
import shutil
import tarfile
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.lake import Lake
from data.stores.connection import connect
from latentlake.errors import SourceError
from latentlake.settings import Settings, load_settings
from tasks.parameters import ALL_REPORTS
from tasks.stages.embedding import commit_embedding, encode_group
from tasks.stages.indexing import index_space
from tasks.stages.ingesting import ingest_source
from tasks.stages.neighbours import link_neighbours
from tasks.stages.planning import plan_embedding
from tasks.stages.reporting import report_space
from tasks.stages.runs import RunSummary, begin_run, finish_run
from tasks.stages.searching import SearchQuery, search
from tasks.stages.spaces import find_space, known_space, make_space, space_vectors
from tests.faults.s3_proxy import Fault, FaultSchedule, fault_proxy
from tests.s3.conftest import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3.conftest import Bucket

CONFIG = """
[lake]
root = "{root}"
[[sources]]
name = "photos"
kind = "images"
uri = "{base}/photos"
[[sources]]
name = "notes"
kind = "text"
uri = "{base}/notes/*.jsonl.gz"
text = "text"
key = "id"
[[sources]]
name = "table"
kind = "text"
uri = "{base}/table.parquet"
key = "id"
[[spaces]]
name = "words"
encoder = "word2vec"
sources = ["notes", "table"]
neighbours = 5
options = {{ dim = 16, epochs = 2 }}
[run]
threads = 2
shard_rows = 32
"""
_TIMES = frozenset({"modified_at", "recorded_at", "run_id", "first_run", "last_run", "seconds"})


@dataclass(frozen=True)
class Project:
    """A configuration, and the stages called as plain functions."""

    config: Path

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.root)

    def run(self) -> RunSummary:
        lake, settings = self.lake, self.settings
        run = begin_run(lake, "pipeline")
        done = [ingest_source(lake, settings, s.name, run.run_id) for s in settings.sources]
        for space in settings.spaces:
            row = find_space(lake, settings, space.name)
            row = row or make_space(lake, settings, space.name, run.run_id)
            plan = plan_embedding(lake, settings, row)
            made = [r for group in plan.groups for r in encode_group(lake, settings, row, group)]
            done.append(commit_embedding(lake, row, plan, made, run.run_id))
            done.append(index_space(lake, settings, space.name, run.run_id))
            done.append(link_neighbours(lake, settings, space.name, run.run_id))
            done += [
                report_space(lake, settings, space.name, report, run.run_id)
                for report in ALL_REPORTS
            ]
        return finish_run(lake, settings, run, done)

    def state(self) -> dict[str, list[dict[str, Any]]]:
        """All that does not tell when or by which run it was made."""
        names = ("items", "quarantine", "duplicates", "neighbours", "clusters", "anomalies")
        snapshot = self.lake.snapshot()
        return {
            name: sorted(
                (
                    {key: value for key, value in row.items() if key not in _TIMES}
                    for row in self.lake.read(name, snapshot=snapshot).to_pylist()
                ),
                key=repr,
            )
            for name in names
        }

    def vectors(self) -> dict[str, bytes]:
        row = known_space(self.lake, "words")
        found = space_vectors(self.lake, self.settings, row)
        matrix = np.concatenate(list(found.batches(1000)))
        ids = found.content_ids.to_pylist()
        return {name: one.tobytes() for name, one in zip(ids, matrix, strict=True)}


@pytest.fixture
def places(tmp_path: Path, samples: Path) -> Path:
    """Photos (plain, broken, in a tar), texts in packed JSON lines and in a table."""
    base = tmp_path / "sources"
    (base / "photos" / "hat").mkdir(parents=True)
    (base / "notes").mkdir()
    photos = sorted((samples / "photos" / "hat").iterdir())
    for path in photos[:3]:
        shutil.copy2(path, base / "photos" / "hat" / path.name)
    (base / "photos" / "é 100%25 #1.jpg").write_bytes(photos[3].read_bytes())
    (base / "photos" / "broken.jpg").write_bytes(b"no image")
    (base / "photos" / "empty.png").write_bytes(b"")
    (base / "photos" / ".hidden.jpg").write_bytes(photos[3].read_bytes())
    (base / "photos" / "readme.doc").write_bytes(b"other")
    with tarfile.open(base / "photos" / "shard.tar", "w") as archive:
        for path in photos[4:7]:
            content = path.read_bytes()
            member = tarfile.TarInfo(path.name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with gzip.open(samples / "abstracts.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in islice(lines, 70)]
    notes = [json.dumps({"id": r["arxiv_id"], "text": r["abstract"]}) for r in rows[:40]]
    with gzip.open(base / "notes" / "a.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write("\n".join([*notes, "no json"]) + "\n")
    table = {"id": [r["arxiv_id"] for r in rows[40:]], "text": [r["abstract"] for r in rows[40:]]}
    pq.write_table(pa.table(table), base / "table.parquet", row_group_size=10)
    return base


def project(folder: Path, root: str, base: str) -> Project:
    folder.mkdir(exist_ok=True)
    config = folder / f"{root.rpartition('/')[2]}.toml"
    config.write_text(CONFIG.format(root=root, base=base), "utf-8")
    return Project(config)


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_run_on_s3_ends_in_what_a_local_run_ends_in(
    bucket: Bucket, places: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    local = project(tmp_path / "local", str(tmp_path / "lake"), str(places))
    assert local.run().snapshot == 1
    bucket.put_folder(places, "in")
    remote = project(tmp_path / "remote", f"s3://{bucket.name}/a/lake", f"s3://{bucket.name}/in")
    assert remote.run().snapshot == 1
    assert remote.state() == local.state()
    assert remote.vectors() == local.vectors()
    # No news: nothing is committed, nothing is written.
    before = bucket.keys()
    assert not remote.run().changed
    assert bucket.keys() == before
    assert not [key for key in before if "work/" in key]
    # One changed object, one gone.
    bucket.put("in/photos/hat/new.jpg", (places / "photos" / "é 100%25 #1.jpg").read_bytes())
    bucket.client.delete_object(Bucket=bucket.name, Key="in/photos/broken.jpg")
    summary = remote.run()
    assert summary.receipts[0].counts["new"] == 1
    assert summary.receipts[0].counts["read"] == 1
    query = SearchQuery(text="a network of neurons", space="words", k=3)
    asked = [search(one.lake, one.settings, query).hits for one in (local, remote)]
    assert asked[0].equals(asked[1])
    # The secret is nowhere: not in the lake, not in the copies, not in what was logged or shown.
    secret = SECRET.encode()
    assert not [key for key in bucket.keys("a/") if secret in bucket.get(key)]
    assert not [path for path in files_below(tmp_path) if secret in path.read_bytes()]
    shown = [caplog.text, repr(remote.lake.store), repr(connect()), repr(summary)]
    assert not [text for text in shown if SECRET in text]


@pytest.mark.parametrize("seed", [1])
def test_faults_on_the_way_change_nothing_but_the_time(
    bucket: Bucket, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    local = project(tmp_path / "local", str(tmp_path / "lake"), str(places))
    local.run()
    bucket.put_folder(places, "in")
    remote = project(tmp_path / "remote", f"s3://{bucket.name}/lake", f"s3://{bucket.name}/in")
    schedule = FaultSchedule(seed, rate=0.02)
    with fault_proxy(bucket.port, schedule) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        remote.run()
        assert set(schedule.injected) == set(Fault)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.port}")
    assert remote.state() == local.state()
    assert remote.vectors() == local.vectors()
    assert not remote.run().changed


def test_a_place_that_is_not_there_is_a_clear_error(bucket: Bucket, tmp_path: Path) -> None:
    root = f"s3://{bucket.name}/lake"
    for base, reason in (
        (f"s3://{bucket.name}/none", "no objects"),
        ("s3://no-such-bucket-here/none", "NoSuchBucket"),
    ):
        made = project(tmp_path / "p", root, base)
        with pytest.raises(SourceError, match=reason):
            ingest_source(made.lake, made.settings, "photos", "r")
