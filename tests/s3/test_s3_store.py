"""The door to S3: whole writes, exclusive creation, ranges, copies, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.stores import open_store, uploads
from data.stores.connection import split
from data.stores.copies import cache_folder
from data.stores.ranges import open_object
from data.stores.retries import TRIES
from latentlake.errors import ConfigError, LakeError, StoreError, StoreUnavailableError
from tests.faults.s3_proxy import Fault, FaultSchedule, fault_proxy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.s3.conftest import Bucket


@pytest.fixture(params=["folder", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the root of an empty store of each kind."""
    if request.param == "folder":
        return str(tmp_path / "root")
    bucket: Bucket = request.getfixturevalue("bucket")
    return f"s3://{bucket.name}/some/prefix"


def test_every_store_keeps_what_the_door_promises(root: str) -> None:
    store = open_store(root)
    assert store.size("a/one") is None
    assert list(store.files("")) == []
    assert store.folders("a") == []
    with pytest.raises(FileNotFoundError):
        store.read("a/one")
    store.write("a/one", b"first")
    store.write("a/one", b"second")
    assert (store.read("a/one"), store.size("a/one")) == (b"second", 6)
    assert store.create("a/b/two", b"2")
    assert not store.create("a/b/two", b"3")
    assert store.read("a/b/two") == b"2"
    with store.writing("c/three") as path:
        path.write_bytes(b"333")
    assert [(f.name, f.size_bytes) for f in store.files("")] == [
        ("a/b/two", 1),
        ("a/one", 6),
        ("c/three", 3),
    ]
    assert store.folders("") == ["a", "c"]
    assert store.folders("a") == ["b"]
    assert (store.names(""), store.names("a"), store.names("none")) == ([], ["one"], [])
    with store.reading("c/three") as path:
        assert path.read_bytes() == b"333"
    with store.scratch("work/x") as made:
        (made / "deep").mkdir()
        (made / "deep" / "weights").write_bytes(b"w")
        (made / "config").write_bytes(b"c")
        store.publish(made, "models/x")
    folder = store.local_folder("models/x")
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == {
        "config",
        "deep/weights",
    }
    store.delete_folder("a")
    store.delete_folder("none")
    assert [f.name for f in store.files("a")] == []


def test_a_failed_write_leaves_the_old_file(root: str) -> None:
    store = open_store(root)
    store.write("one", b"old")

    def fail() -> None:
        with store.writing("one") as path:
            path.write_bytes(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert store.read("one") == b"old"
    assert [f.name for f in store.files("")] == ["one"]


def test_of_racing_creators_one_wins(root: str) -> None:
    store = open_store(root)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.create("one", str(n).encode()), range(16)))
    assert won.count(True) == 1
    assert store.read("one") == str(won.index(True)).encode()


def test_a_copy_is_fetched_once_and_again_when_the_object_changes(bucket: Bucket) -> None:
    store = open_store(f"s3://{bucket.name}")
    store.write("one", b"first")
    with store.reading("one") as first, store.reading("one") as again:
        assert first == again
        assert first.stat().st_mtime_ns == again.stat().st_mtime_ns
    store.write("one", b"second")
    with store.reading("one") as path:
        assert path.read_bytes() == b"second"
    old = first.parent
    os.utime(old, (0, 0))
    store.write("two", b"2")
    with store.reading("two"):
        assert not old.exists()
    assert cache_folder().stat().st_mode & 0o777 in (0o700, 0o755)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 3100), st.integers(0, 900)), max_size=8))
def test_ranges_read_what_a_file_reads(bucket: Bucket, steps: list[tuple[int, int]]) -> None:
    content = bytes(range(256)) * 12
    bucket.put("one", content)
    with open_object(bucket.name, "one") as stream:
        for start, count in steps:
            stream.seek(start)
            assert stream.read(count) == content[start : start + count]
        stream.seek(-5, os.SEEK_END)
        assert stream.read() == content[-5:]


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed(bucket: Bucket) -> None:
    bucket.put("one", b"a" * 9_000_000)
    bucket.put("empty", b"")
    with open_object(bucket.name, "empty") as stream:
        assert stream.read() == b""
    with open_object(bucket.name, "one") as stream:
        assert stream.read(10) == b"a" * 10
        bucket.put("one", b"b" * 9_000_000)
        with pytest.raises(OSError, match="changed while it was read"):
            stream.read()
    with open_object(bucket.name, "none") as stream, pytest.raises(FileNotFoundError):
        stream.read()


def test_large_files_go_up_in_parts(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PART_BYTES", 5 * 2**20)
    path = tmp_path / "large"
    path.write_bytes(os.urandom(11 * 2**20))
    schedule = FaultSchedule(3, 0.5, (Fault.DROP, Fault.LOSE_ANSWER, Fault.SLOW_DOWN))
    with fault_proxy(bucket.port, schedule) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        uploads.upload(bucket.name, "large", path)
        assert schedule.injected
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{bucket.port}")
    assert bucket.get("large") == path.read_bytes()
    left = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
    # Only one whose beginning was never answered cannot be ended: nobody knows its name.
    assert len(left) <= schedule.injected[Fault.LOSE_ANSWER]


@pytest.mark.parametrize("kind", list(Fault))
def test_one_creator_wins_whatever_the_answers(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, kind: Fault
) -> None:
    schedule = FaultSchedule(5, 0.15, (kind,))
    with fault_proxy(bucket.port, schedule) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = open_store(f"s3://{bucket.name}")
        wins = [[store.create(f"{n}", b"x"), store.create(f"{n}", b"x")] for n in range(4)]
        assert schedule.injected[kind]
    assert wins == [[True, False]] * 4


def test_an_endpoint_that_ignores_conditions_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = FaultSchedule(0, 0.0, ignored=b"if-none-match:")
    with fault_proxy(bucket.port, schedule) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        store = open_store(f"s3://{bucket.name}")
        with pytest.raises(ConfigError, match="ignores If-None-Match"):
            store.create("one", b"1")
        with pytest.raises(ConfigError, match="ignores If-None-Match"):
            assert store.delta_options
        assert bucket.keys() == []


def test_a_server_that_stops_answering_is_a_clear_error(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    store = open_store(f"s3://{bucket.name}")
    monkeypatch.setattr("data.stores.retries.time.sleep", pauses.append)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError, match="run the same command again"):
        store.read("one")
    assert len(pauses) == TRIES - 1
    assert all(2 * later > earlier for earlier, later in zip(pauses, pauses[2:], strict=False))
    assert sum(pauses) < 30


def test_places_that_are_no_places() -> None:
    assert split("s3://bucket") == ("bucket", "")
    assert split("s3://bucket/a/b/") == ("bucket", "a/b/")
    for wrong in ("s3://", "s3:///a", "s3://b/a//c", "s3://b/../c"):
        with pytest.raises(ConfigError, match="s3://bucket/prefix"):
            split(wrong)
    assert issubclass(StoreError, LakeError)


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['botocore'] = None; sys.modules['botocore.session'] = None\n"
        "from data.lake import Lake\n"
        "from latentlake.errors import MissingExtraError\n"
        "try:\n    Lake('s3://bucket/x')\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install" in done.stdout
    assert "[s3]" in done.stdout
