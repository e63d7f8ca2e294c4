from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from data.sources import BadRecord, Record
from data.sources.names import file_name

ReadAll = Callable[..., list[Record | BadRecord]]
TarFormat = Literal[0, 1, 2]

FORMATS: dict[str, TarFormat] = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}


def tar(members: list[tuple[str, bytes]], kind: TarFormat = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def read_bytes(read: ReadAll, content: bytes, name: str = "a.tar") -> list[Record | BadRecord]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        return read(folder, "images")


def good(records: list[Record | BadRecord]) -> list[tuple[str | None, bytes | str]]:
    return [(record.key, record.payload) for record in records if isinstance(record, Record)]


def bad(records: list[Record | BadRecord]) -> list[tuple[str | None, str]]:
    return [(record.key, record.message) for record in records if isinstance(record, BadRecord)]


def test_a_file_is_an_item_with_its_folder(read: ReadAll, tmp_path: Path) -> None:
    (tmp_path / "train/cat").mkdir(parents=True)
    (tmp_path / "train/cat/a.jpg").write_bytes(b"1")
    (tmp_path / "b.png").write_bytes(b"2")
    (tmp_path / "c.gif").write_bytes(b"")
    first, empty, second = read(tmp_path, "images")
    assert first == Record("b.png", None, None, b"2", {"folder": ""})
    assert second == Record("train/cat/a.jpg", None, None, b"1", {"folder": "train/cat"})
    assert empty == BadRecord("c.gif", None, "parse", "BadInputError", "empty: 0 bytes", 0)
    assert second.uri == "train/cat/a.jpg"


def test_an_endless_image_is_refused(
    read: ReadAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("plain_images", "making", "tar_shards"):
        monkeypatch.setattr(f"data.sources.{module}.MAX_IMAGE_BYTES", 100)
    (tmp_path / "a.jpg").write_bytes(bytes(101))
    (tmp_path / "b.tar").write_bytes(tar([("1.jpg", bytes(101)), ("2.jpg", bytes(100))]))
    records = read(tmp_path, "images")
    assert good(records) == [("2", bytes(100))]
    assert [key for key, _ in bad(records)] == [None, "1.jpg"]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".tar", lambda raw: raw),
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_tar_shards(read: ReadAll, kind: str, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    members = [
        ("train/0001.jpg", b"one"),
        ("train/0001.json", b'{"label": 3, "x": {"y": [1]}}'),
        ("train/0001.txt", "a caption, é\n".encode()),
        ("train/0002.cls", b"7"),
        ("train/0002.PNG", b"two" * 1000),
        ("train/0003.webp", b"three"),
    ]
    records = read_bytes(read, pack(tar(members, FORMATS[kind])), "a" + suffix)
    file = "a" + suffix
    assert records == [
        Record(file, "train/0001", 0, b"one", {"label": 3, "x": {"y": [1]}, "txt": "a caption, é"}),
        Record(file, "train/0002", 1, b"two" * 1000, {"cls": "7"}),
        Record(file, "train/0003", 2, b"three", {}),
    ]
    assert records[0].uri == f"{file}#train/0001"


tar_names = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/."), min_size=1, max_size=150
)


@pytest.mark.parametrize("kind", ["gnu", "pax"])
@given(members=st.dictionaries(tar_names, st.binary(min_size=1, max_size=1500), max_size=6))
def test_any_names_and_contents_come_back(
    read: ReadAll, kind: str, members: dict[str, bytes]
) -> None:
    content = tar([(f"{name}.jpg", image) for name, image in members.items()], FORMATS[kind])
    assert [(record.uri.partition("#")[2], record.payload) for record in read_bytes(read, content)
            if isinstance(record, Record)] == [
        (file_name(name), image) for name, image in members.items()]  # fmt: skip


def test_names_that_are_not_utf8_or_lead_away_are_only_names(read: ReadAll) -> None:
    names = ["../../etc/a.jpg", "/abs/b.jpg", "./c.jpg", "caf\udce9.jpg"]
    content = tar([(name, b"x") for name in names], tarfile.GNU_FORMAT)
    keys = [key for key, _ in good(read_bytes(read, content))]
    assert keys == ["../../etc/a", "/abs/b", "c", "caf%E9"]


def test_second_images_hidden_members_and_other_members(read: ReadAll) -> None:
    content = tar(
        [
            ("1.jpg", b"image"),
            ("1.mask.png", b"mask"),
            ("1.pkl", pickle.dumps({"never": "loaded"})),
            ("._1.jpg", b"a Mac's resource fork"),
            (".DS_Store", b"x"),
            ("README", b"about"),
            ("2.npy", b"x"),
            ("3.json", b'{"a": 1}'),
            ("4.json", b'{"a": '),
            ("4.jpg", b"four"),
        ]
    )
    records = read_bytes(read, content)
    assert good(records) == [("1", b"image"), ("1.mask.png", b"mask"), ("4", b"four")]
    assert bad(records) == [
        ("3", "no image beside a"),
        ("4.json", "no JSON: Expecting value (column 6)"),
    ]


def test_keys_that_occur_again_are_refused(read: ReadAll) -> None:
    members = [("1.jpg", b"a"), ("2.jpg", b"b"), ("1.jpg", b"c"), ("3.jpg", b"d"), ("3.jpg", b"e")]
    records = read_bytes(read, tar(members))
    assert good(records) == [("1", b"a"), ("2", b"b"), ("3", b"d")]
    assert len({record.uri for record in records}) == 5


def test_links_and_devices_in_a_tar_are_not_followed(read: ReadAll) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (("1.jpg", tarfile.SYMTYPE), ("2.jpg", tarfile.LNKTYPE),
                           ("3.jpg", tarfile.FIFOTYPE), ("4", tarfile.DIRTYPE)):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    records = read_bytes(read, buffer.getvalue() + tar([]))
    assert good(records) == []
    assert [key for key, _ in bad(records)] == ["1.jpg", "2.jpg", "3.jpg"]


def test_a_tar_cut_anywhere_yields_what_comes_before(read: ReadAll) -> None:
    members = [(f"{n}.jpg", bytes([n]) * 700) for n in range(1, 6)]
    whole = tar(members)
    expected = [(str(n), bytes([n]) * 700) for n in range(1, 6)]
    assert good(read_bytes(read, whole)) == expected
    for end in [*range(0, 8192, 300), 512, 1536, 5 * 1536]:
        records = read_bytes(read, whole[:end])
        found = good(records)
        assert found == expected[: len(found)]
        assert len(found) == min(5, sum(end >= n * 1536 - 324 for n in range(1, 6)))
        if end <= 5 * 1536:
            assert "cut short" in bad(records)[-1][1]


def test_hostile_tar_headers_are_refused_before_reading(read: ReadAll) -> None:
    def header(kind: bytes, size: int) -> bytes:
        info = tarfile.TarInfo("x.jpg")
        info.type, info.size = kind, size
        return info.tobuf(tarfile.GNU_FORMAT)

    huge = 2**60
    for content in (
        header(tarfile.XHDTYPE, huge),
        header(tarfile.GNUTYPE_LONGNAME, huge),
        header(tarfile.REGTYPE, huge),
        header(tarfile.GNUTYPE_SPARSE, 10),
        header(tarfile.XHDTYPE, 512) + b"99999 a=b\n".ljust(512, b"x"),
        header(tarfile.XHDTYPE, 512) + b"13 size=-500\n".ljust(512, b"\0") + header(b"0", 0),
    ):
        records = read_bytes(read, content + bytes(2048))
        assert good(records) == []
        assert len(bad(records)) >= 1


def test_an_extended_header_of_any_length_is_not_read(read: ReadAll) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("1.jpg")
        info.pax_headers = {"comment": "x" * 2**21}
        archive.addfile(info)
    ((_, message),) = bad(read_bytes(read, gzip.compress(buffer.getvalue()), "a.tgz"))
    assert message.startswith("an extended header of 2097")


@given(st.binary(max_size=1200), st.integers(0, 3000))
def test_any_bytes_as_a_tar_are_read_without_an_error(read: ReadAll, noise: bytes, at: int) -> None:
    whole = bytearray(tar([("1.jpg", b"x" * 600), ("1.json", json.dumps({"a": 1}).encode())]))
    whole[at : at + len(noise)] = noise
    for content in (noise, bytes(whole)):
        records = read_bytes(read, content)
        assert len({record.uri for record in records}) == len(records)
