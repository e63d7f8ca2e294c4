"""The whole project with its lake and its sources on S3, beside the same one in folders."""

from __future__ import annotations

import gzip
import io
import json
import logging
import shutil
import tarfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from data.maintenance.vacuuming import Retention
from data.shards import shard_paths
from data.stores.connection import connect
from latentlake.cli.main import cli
from latentlake.errors import SourceError
from tasks.stages.ingesting import ingest_source
from tasks.stages.maintaining import (
    CompactionOptions,
    compact_lake,
    mend_lake,
    restore_lake,
    vacuum_lake,
)
from tasks.stages.runs import writing
from tasks.stages.searching import SearchQuery, search
from tasks.stages.spaces import known_space
from tasks.stages.verifying import verify_lake
from tests.faults.lakes import check_snapshot, check_tables_are_sound, orphans, run_whole, state_of
from tests.faults.s3_proxy import Fault, FaultSchedule, fault_proxy
from tests.s3.conftest import make_bucket
from tests.s3.server import KEY_ID, SECRET
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from click.testing import Result

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


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """Photos (plain, broken, in a tar), texts in packed JSON lines and in a table."""
    base = tmp_path_factory.mktemp("sources")
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


def make_project(folder: Path, root: str, base: str) -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "latentlake.toml").write_text(CONFIG.format(root=root, base=base), "utf-8")
    return Project(folder)


def content_of(project: Project) -> dict[str, Any]:
    """All that does not tell where the sources and the lake are."""
    state = state_of(project.lake)
    return {name: rows for name, rows in state.items() if name not in ("files", "runs")}


@pytest.fixture(scope="module")
def local(places: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project in folders, after one run."""
    made = make_project(tmp_path_factory.mktemp("local"), "lake", str(places))
    run_whole(made)
    return made


class World:
    """The project on S3 after one run, and what was logged meanwhile."""

    def __init__(self, bucket: Bucket, places: Path, folder: Path) -> None:
        self.bucket, self.logged = bucket, io.StringIO()
        bucket.put_folder(places, "in")
        self.project = make_project(folder, f"s3://{bucket.name}/a/lake", f"s3://{bucket.name}/in")
        handler = logging.StreamHandler(self.logged)
        root = logging.getLogger()
        level = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        try:
            run_whole(self.project)
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
        self.built = {key: bucket.get(key) for key in bucket.keys("")}

    def rebuild(self) -> Project:
        """Bring back what the run left."""
        held = set(self.bucket.keys())
        for key in held - self.built.keys():
            self.bucket.client.delete_object(Bucket=self.bucket.name, Key=key)
        for key, content in self.built.items():
            self.bucket.put(key, content)
        return self.project


@pytest.fixture(scope="module")
def world(s3: int, places: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(make_bucket(s3), places, tmp_path_factory.mktemp("remote"))


@pytest.fixture
def remote(world: World) -> Project:
    return world.rebuild()


def without_lock(world: World) -> dict[str, bytes]:
    keys = (key for key in world.bucket.keys("") if not key.endswith("writer.lock"))
    return {key: world.bucket.get(key) for key in keys}


def call(project: Project, *arguments: str) -> Result:
    config = str(project.folder / "latentlake.toml")
    return CliRunner().invoke(cli, [*arguments, "--config", config])


def test_a_run_on_s3_ends_in_what_a_local_run_ends_in(remote: Project, local: Project) -> None:
    assert content_of(remote) == content_of(local)
    assert orphans(remote.lake) == []
    check_tables_are_sound(remote.lake)
    check_snapshot(remote.lake, 1)
    query = SearchQuery(text="a network of neurons", space="words", k=3)
    asked = [search(one.lake, one.settings, query).hits for one in (local, remote)]
    assert asked[0].equals(asked[1])


def test_without_news_nothing_is_written_and_a_change_is_read_alone(
    remote: Project, world: World, places: Path
) -> None:
    before = without_lock(world)
    assert not run_whole(remote).changed
    assert without_lock(world) == before
    world.bucket.put("in/photos/hat/new.jpg", (places / "photos" / "é 100%25 #1.jpg").read_bytes())
    world.bucket.client.delete_object(Bucket=world.bucket.name, Key="in/photos/broken.jpg")
    with writing(remote.lake, "ingest"):
        counts = remote.ingest("photos").counts
    assert (counts["new"], counts["read"]) == (1, 1)


def test_the_credentials_are_nowhere(remote: Project, world: World) -> None:
    config = remote.folder / "latentlake.toml"
    shown = [call(remote, name).output for name in ("status", "doctor", "runs")]
    shown += [repr(remote.lake.store), repr(connect()), world.logged.getvalue()]
    assert "s3://" in shown[0]
    for secret in (SECRET, KEY_ID):
        assert not [key for key, content in world.built.items() if secret.encode() in content]
        assert not [text for text in shown if secret in text]
        assert secret not in config.read_text("utf-8")


def test_the_reading_commands_answer(remote: Project, local: Project) -> None:
    for arguments in (
        ("sql", "SELECT item_id, uri FROM items ORDER BY ALL", "--format", "json"),
        ("duplicates", "--format", "json"),
        ("clusters", "--format", "json"),
        ("anomalies", "--format", "json"),
        ("search", "a network of neurons", "--space", "words", "--format", "json"),
    ):
        done = [call(project, *arguments) for project in (local, remote)]
        assert done[1].exit_code == 0, done[1].output
        assert json.loads(done[0].stdout) == json.loads(done[1].stdout)
    assert "snapshot 1" in call(remote, "doctor").output
    assert call(remote, "verify").exit_code == 0


def test_maintenance_does_on_s3_what_it_does_in_a_folder(
    remote: Project, world: World, local: Project, tmp_path: Path
) -> None:
    shutil.copytree(local.folder, tmp_path / "copy")
    projects = [Project(tmp_path / "copy"), remote]
    begun = world.bucket.client.create_multipart_upload(
        Bucket=world.bucket.name, Key="a/lake/indexes/words/half"
    )
    assert begun["UploadId"]
    joined = [
        compact_lake(p.lake, p.settings, CompactionOptions(shard_rows=1000)).receipts[0].counts
        for p in projects
    ]
    assert joined[0] == joined[1]
    assert joined[1]["removed"] > joined[1]["added"] > 0
    assert content_of(projects[0]) == content_of(remote)
    names = [[Path(path).name for path in shards_of(p)] for p in projects]
    assert names[0] == names[1]
    kept = Retention(keep_runs=1, grace_hours=-1)
    in_folder, on_s3 = (vacuum_lake(p.lake, kept) for p in projects)
    assert kinds_of(in_folder) == kinds_of(on_s3)
    assert list(verify_lake(remote.lake)) == []
    uploads = world.bucket.client.list_multipart_uploads(Bucket=world.bucket.name)
    assert "Uploads" not in uploads
    assert remote.lake.snapshots() == [2]
    assert not run_whole(remote).changed


def kinds_of(removed: list[Any]) -> list[str]:
    return sorted(one.kind for one in removed)


def shards_of(project: Project) -> list[str]:
    return shard_paths(project.lake, known_space(project.lake, "words").id)


def test_a_damaged_shard_is_found_dropped_and_made_again(
    remote: Project, world: World, local: Project
) -> None:
    key = shards_of(remote)[0].removeprefix(f"s3://{world.bucket.name}/")
    content = bytearray(world.bucket.get(key))
    content[200] ^= 1
    world.bucket.put(key, bytes(content))
    findings = list(verify_lake(remote.lake))
    assert ["seal is broken" in finding.problem for finding in findings].count(True) == 1
    mend_lake(remote.lake, remote.settings, findings)
    run_whole(remote)
    assert list(verify_lake(remote.lake)) == []
    both = [content_of(project) for project in (local, remote)]
    assert both[0]["vectors"] == both[1]["vectors"]


def test_an_older_state_comes_back(remote: Project, world: World, places: Path) -> None:
    expected = content_of(remote)
    world.bucket.put("in/photos/hat/new.jpg", (places / "photos" / "é 100%25 #1.jpg").read_bytes())
    run_whole(remote)
    assert content_of(remote)["items"] != expected["items"]
    restore_lake(remote.lake, remote.settings, remote.lake.snapshot(1))
    assert content_of(remote) | {"snapshots": [1]} == expected
    done = call(remote, "export", "words", "--to", str(remote.folder / "words.npy"))
    assert done.exit_code == 0, done.output
    assert len(np.load(remote.folder / "words.npy")) == len(expected["vectors"]["words"])


def test_faults_on_the_way_change_nothing_but_the_time(
    world: World, local: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, port = world.bucket.name, world.bucket.port
    remote = make_project(tmp_path / "remote", f"s3://{name}/b/lake", f"s3://{name}/in")
    world.rebuild()
    schedule = FaultSchedule(1, rate=0.02)
    with fault_proxy(port, schedule) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        run_whole(remote)
        assert set(schedule.injected) == set(Fault)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    assert content_of(remote) == content_of(local)
    assert orphans(remote.lake) == []
    assert not run_whole(remote).changed


def test_a_place_that_is_not_there_is_a_clear_error(remote: Project, tmp_path: Path) -> None:
    for base, reason in (
        (remote.settings.root.replace("/a/lake", "/none"), "no objects"),
        ("s3://no-such-bucket-here/none", "There is no such bucket"),
    ):
        made = make_project(tmp_path / "p", remote.settings.root, base)
        with pytest.raises(SourceError, match=reason):
            ingest_source(made.lake, made.settings, "photos", "r")
