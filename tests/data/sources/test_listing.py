from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.sources import BadRecord, FileEntry, Record, Source, path_of
from data.sources.names import file_name
from latentlake.errors import BadInputError, SourceError

Open = Callable[..., Source]


def write(base: Path, files: Iterable[str]) -> None:
    for file in files:
        path = base / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def files_of(source: Source) -> list[str]:
    return [entry.file for entry in source.list_files() if isinstance(entry, FileEntry)]


def bad_of(source: Source) -> list[BadRecord]:
    return [entry for entry in source.list_files() if isinstance(entry, BadRecord)]


def test_a_folder_is_listed_at_any_depth_in_the_order_of_its_paths(
    tmp_path: Path, open_place: Open
) -> None:
    names = [
        "a/z.jpg",
        "a-b.jpg",
        "a0/y.PNG",
        "a/b/c/d.webp",
        "b.tar.gz",
        "c.tgz",
        "Z.jpg",
        "é.jpg",
    ]
    write(tmp_path, names)
    listed = files_of(open_place(tmp_path, "images"))
    assert listed == sorted(names)


def test_an_entry_tells_size_and_time(tmp_path: Path, open_place: Open) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    os.utime(tmp_path / "a.jpg", ns=(1, 1_700_000_000_123_456_789))
    (entry,) = open_place(tmp_path, "images").list_files()
    assert entry == FileEntry("a.jpg", 5, 1_700_000_000_123_456_789)


def test_what_is_passed_over_is_counted(tmp_path: Path, open_place: Open) -> None:
    write(tmp_path, ["a.jpg", "b.jsonl", "c", "d.jpg.gz", ".e.jpg", ".git/f.jpg", "g.JSONL"])
    source = open_place(tmp_path, "images")
    for _ in range(2):  # each listing counts anew
        assert files_of(source) == ["a.jpg"]
        assert source.ignored == 6
        assert source.ignored_by_kind == {".jsonl": 2, "": 1, ".gz": 1, "(hidden)": 2}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("*/*.jpg", ["x/b.jpg", "y/c.jpg"]),
        ("**/*.jpg", ["a.jpg", "x/b.jpg", "x/z/d.jpg", "y/c.jpg"]),
        ("x/**", ["x/b.jpg", "x/z/d.jpg", "x/z/e.png"]),
        ("**/z/*", ["x/z/d.jpg", "x/z/e.png"]),
        ("[xy]/?.jpg", ["x/b.jpg", "y/c.jpg"]),
        ("x/**/d.*", ["x/z/d.jpg"]),
        ("nothing*", []),
    ],
)
def test_globs(tmp_path: Path, open_place: Open, pattern: str, expected: list[str]) -> None:
    write(tmp_path, ["a.jpg", "x/b.jpg", "y/c.jpg", "x/z/d.jpg", "x/z/e.png"])
    source = open_place(tmp_path / pattern, "images")
    found = [str((source.base / file).relative_to(tmp_path)) for file in files_of(source)]
    assert found == expected
    globbed = (path.relative_to(tmp_path) for path in tmp_path.glob(pattern) if path.is_file())
    if not pattern.endswith("**"):  # which means folders alone to pathlib before Python 3.13
        assert found == sorted(map(str, globbed))


def test_a_glob_that_meets_an_unknown_extension_says_so(tmp_path: Path, open_place: Open) -> None:
    write(tmp_path, ["a.jpg", "b.csv", "c.xyz"])
    first, second = bad_of(open_place(tmp_path / "*", "images"))
    assert (first.file, second.file, first.stage) == ("b.csv", "c.xyz", "list")
    assert "kind = 'text'" in first.message
    assert "'.xyz'" in second.message
    assert ".jpg" in second.message


def test_wildcards_in_a_real_name_are_meant_literally(tmp_path: Path, open_place: Open) -> None:
    write(tmp_path, ["set[1]/a.jpg", "set1/b.jpg"])
    assert files_of(open_place(tmp_path / "set[1]", "images")) == ["a.jpg"]


def test_a_single_file(tmp_path: Path, open_place: Open) -> None:
    write(tmp_path, ["t/a.csv", "t/b.csv"])
    source = open_place(tmp_path / "t/a.csv", "text")
    assert files_of(source) == ["a.csv"]
    assert source.base == tmp_path / "t"


@pytest.mark.parametrize(
    ("uri", "kind", "settings", "said"),
    [
        ("nowhere", "images", {}, "No such file"),
        ("nowhere/*.jpg", "images", {}, "No such file"),
        ("a.csv", "images", {}, "kind = 'text'"),
        ("a.xyz", "text", {}, "known: .txt"),
        ("a.csv", "text", {"encoding": "utf-9"}, "unknown encoding 'utf-9'"),
        ("a.csv", "text", {"encoding": "base64"}, "unknown encoding 'base64'"),
        ("a\0b", "text", {}, "cannot list"),
    ],
)
def test_places_that_cannot_be_listed(
    tmp_path: Path,
    open_place: Open,
    uri: str,
    kind: str,
    settings: dict[str, str],
    said: str,
) -> None:
    write(tmp_path, ["a.csv", "a.xyz"])
    with pytest.raises(SourceError, match=said):
        open_place(f"{tmp_path}/{uri}", kind, **settings)


def test_other_schemes_are_refused_clearly(open_place: Open) -> None:
    with pytest.raises(SourceError, match="only local places and s3://"):
        open_place("gs://bucket/photos", "images")


def test_loops_of_links_end_and_a_linked_folder_is_read_once(
    tmp_path: Path, open_place: Open
) -> None:
    base = tmp_path / "base"
    write(base, ["a/b/c.jpg"])
    write(tmp_path, ["outside/d.jpg"])
    (base / "a/b/up").symlink_to(base / "a")
    (base / "a/top").symlink_to("..")
    (base / "0first").symlink_to(base / "a")  # sorts before what it leads to
    (base / "self.jpg").symlink_to("self.jpg")
    (base / "out1").symlink_to(tmp_path / "outside")
    (base / "out2").symlink_to(tmp_path / "outside")
    (base / "file.jpg").symlink_to(tmp_path / "outside/d.jpg")
    (tmp_path / "outside/back").symlink_to(base)
    source = open_place(base, "images")
    assert files_of(source) == ["a/b/c.jpg", "file.jpg", "out1/d.jpg"]
    assert [bad.file for bad in bad_of(source)] == ["self.jpg"]
    assert source.ignored_by_kind == {"(linked folder)": 5}
    assert files_of(open_place(base / "**/*.jpg", "images"))[-1] == "out1/d.jpg"


@pytest.mark.parametrize("pattern", ["", "**/*.parquet"])
def test_a_lake_inside_a_source_is_no_input(tmp_path: Path, open_place: Open, pattern: str) -> None:
    write(tmp_path, ["a.parquet", "b/lake/writer.lock", "b/lake/tables/items/x.parquet"])
    source = open_place(tmp_path / pattern, "text")
    assert files_of(source) == ["a.parquet"]
    assert source.ignored_by_kind == {"(lake)": 1}


def test_links_to_nothing_pipes_and_sockets_are_bad_and_not_opened(
    tmp_path: Path, open_place: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "b.jpg")
    monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("c.jpg")
        source = open_place(tmp_path, "images")
        assert [bad.file for bad in bad_of(source)] == ["a.jpg", "b.jpg", "c.jpg"]
        for file in ("a.jpg", "b.jpg", "c.jpg"):
            (bad,) = source.read_file(file)
            assert isinstance(bad, BadRecord)
            assert bad.stage == "read"


def test_a_folder_that_cannot_be_read_is_reported_and_the_rest_is_listed(
    tmp_path: Path, open_place: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, ["a/x.jpg", "b/y.jpg", "c/z.jpg"])
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source = open_place(tmp_path, "images")
    assert files_of(source) == ["a/x.jpg", "c/z.jpg"]
    (bad,) = bad_of(source)
    assert (bad.file, bad.stage, bad.error) == ("b", "list", "PermissionError")
    assert bad.message == "Permission denied"  # without this machine's path


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[int]:
    """Make 1,100 folders inside each other, which pytest itself could not delete."""
    depth, here = 1100, Path.cwd()
    os.chdir(tmp_path)
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    Path("deep.jpg").write_bytes(b"x")
    yield depth
    Path("deep.jpg").unlink()
    for _ in range(depth):
        os.chdir("..")
        Path("d").rmdir()
    os.chdir(here)


def test_folders_deeper_than_the_recursion_limit(
    tmp_path: Path, open_place: Open, deep: int
) -> None:
    assert files_of(open_place(tmp_path, "images")) == ["d/" * deep + "deep.jpg"]


names = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and not name.startswith(b".")
)
tricky = st.lists(
    st.sampled_from([b"%", b"4", b"f", b"\xff", b"\xc3\xa9", b"\n", b"#", b'"', b" "]),
    min_size=1,
    max_size=12,
).map(b"".join)


@given(st.lists(names | tricky, min_size=1, max_size=8, unique=True))
def test_any_name_survives_the_way_to_text_and_back(raw_names: list[bytes]) -> None:
    files = [file_name(os.fsdecode(raw)) for raw in raw_names]
    assert len(set(files)) == len(files)
    for raw, file in zip(raw_names, files, strict=True):
        file.encode("utf-8")  # nothing that a table could not hold
        assert os.fsencode(path_of("", file)) == raw


@given(st.lists(names | tricky, min_size=1, max_size=8, unique=True))
def test_files_of_any_name_are_listed_and_read(open_place: Open, raw_names: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for raw in raw_names:
            (Path(folder) / os.fsdecode(raw + b".jpg")).write_bytes(raw)
        source = open_place(folder, "images")
        records = [record for file in files_of(source) for record in source.read_file(file)]
        assert {r.payload for r in records if isinstance(r, Record)} == set(raw_names)
        assert files_of(source) == sorted(files_of(source))


def test_utf8_names_stay_readable() -> None:
    for name in ("日本 語/ü🦊.jpg", 'a"b\n#c.jpg', "100%.jpg", "50%off"):
        assert file_name(name) == name
    assert file_name("a%20b") == "a%2520b"
    assert file_name(os.fsdecode(b"caf\xe9.jpg")) == "caf%E9.jpg"


@pytest.mark.parametrize(
    "file", ["", "/etc/passwd", "../a.jpg", "a/../../b.jpg", "%2E%2E/a.jpg", "a%00b.jpg", "a//b"]
)
def test_a_name_cannot_leave_its_source(tmp_path: Path, open_place: Open, file: str) -> None:
    with pytest.raises(BadInputError):
        path_of(tmp_path, file)
    (bad,) = open_place(tmp_path, "images").read_file(file)
    assert isinstance(bad, BadRecord)
    assert "inside its source" in bad.message
