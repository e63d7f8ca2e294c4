"""Hostile inputs made on the spot, each with the verdict that it must get."""

from __future__ import annotations

import gzip
import io
import os
import socket
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from PIL import Image

from data.sources.limits import MAX_TEXT_CHARS
from data.sources.names import file_name

ITEM = ""
"""The verdict of what can be used; others are "stage: part of the message"."""

PICTURE = Image.fromarray(np.arange(48 * 40 * 3).astype(np.uint8).reshape(48, 40, 3))
NAMES = (
    b"new\nline.jpg",
    b"quote\"and'apostrophe.jpg",
    b"escape\x1b[31m\x07\x7f.jpg",
    b"latin\xe9\xff.jpg",
    "turned\u202egpj.exe.jpg".encode(),
    "日本語 🦊 é e\u0301.jpg".encode(),
    b"100%25 50%41.jpg",
    b" blanks  .jpg",
    b"-rf *;|&$(id)`.jpg",
    b"<img src=x onerror=alert(1)>.jpg",
    b"'); DROP TABLE items; --.jpg",
    b"up\\..\\..\\x.jpg",
    b"n" * 251 + b".jpg",
)


@dataclass
class Made:
    """A folder of hostile inputs.

    Attributes:
        base: where they are.
        verdicts: by URI.
        passed_over: files and links to folders that a listing counts and passes over.
    """

    base: Path
    verdicts: dict[str, str] = field(default_factory=dict)
    passed_over: int = 0

    def put(self, name: str | bytes, content: bytes, verdict: str = ITEM) -> Path:
        """Write a file that is one input."""
        path = self.path(name)
        path.write_bytes(content)
        self.verdicts[file_name(os.fsdecode(name))] = verdict
        return path

    def file(self, name: str, content: bytes, verdicts: dict[str, str]) -> None:
        """Write a file of many inputs, whose verdicts are given by key; "" is the whole file."""
        self.path(name).write_bytes(content)
        self.verdicts |= {f"{name}#{k}" if k else name: v for k, v in verdicts.items()}

    def path(self, name: str | bytes) -> Path:
        """Return a place whose folder exists."""
        path = self.base / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """Encode an image."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def turned(angle: int) -> bytes:
    """A JPEG whose content no other call has."""
    return saved(PICTURE.rotate(angle), "JPEG")


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(64))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def make_images(base: Path) -> Made:
    """Images: sound ones of every odd kind, broken ones, bombs, and what is no file at all."""
    made = Made(base)
    _sound_images(made)
    _broken_images(made)
    _odd_places(made)
    for at, name in enumerate(NAMES):
        made.put(name, turned(at))
    return made


def _sound_images(made: Made) -> None:
    other = PICTURE.rotate(180)
    exif = Image.Exif()
    exif[0x0112] = 6
    polyglot = io.BytesIO()
    with zipfile.ZipFile(polyglot, "w") as archive:
        archive.writestr("evil.html", "<script>alert(1)</script>")
    grey16 = Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 100)
    made.put("sound/apng.png", saved(PICTURE, "PNG", save_all=True, append_images=[other]))
    made.put("sound/animated.gif", saved(PICTURE, "GIF", save_all=True, append_images=[other]))
    made.put("sound/animated.webp", saved(PICTURE, "WEBP", save_all=True, append_images=[other]))
    made.put("sound/cmyk.jpg", saved(PICTURE.convert("CMYK"), "JPEG"))
    made.put("sound/16bit.png", saved(grey16, "PNG"))
    made.put("sound/turned.jpg", saved(PICTURE, "JPEG", exif=exif))
    made.put("sound/see-through.png", saved(PICTURE.convert("P"), "PNG", transparency=3))
    made.put("sound/profile.jpg", saved(PICTURE, "JPEG", icc_profile=b"broken" * 9))
    made.put("sound/png-inside.jpg", saved(PICTURE, "PNG"))
    made.put("sound/zip-behind.jpg", turned(33) + polyglot.getvalue())
    made.put("sound/one-pixel.png", saved(Image.new("1", (1, 1)), "PNG"))
    made.put("sound/strip.png", saved(Image.new("RGB", (9000, 1)), "PNG"))


def _broken_images(made: Made) -> None:
    whole = turned(44)
    bitmap = bytearray(saved(PICTURE, "BMP"))
    bitmap[18:26] = struct.pack("<ii", 2**30, 2**30)
    made.put("broken/cut.jpg", whole[: len(whole) // 2], "decode: truncated")
    made.put("broken/empty.jpg", b"", "parse: 0 bytes")
    made.put("broken/text.jpg", b"I am no image.", "identify: no image")
    made.put("broken/nul.png", bytes(1000), "identify: no image")
    made.put("broken/svg.jpg", b"<svg onload='alert(1)'/>", "identify: no image")
    made.put("broken/header.png", saved(PICTURE, "PNG")[:20], "identify: Truncated")
    made.put("bombs/square.png", png_of(100_000, 100_000), "identify: pixels")
    made.put("bombs/line.png", png_of(2**31 - 1, 1), "identify: pixels")
    made.put("bombs/bitmap.bmp", bytes(bitmap), "identify: pixels")
    made.put("bombs/just-over.png", png_of(13_378, 13_378), "identify: pixels")


def _odd_places(made: Made) -> None:
    deep = made.put("/".join(["deep"] * 45) + "/a.jpg", turned(50))
    (deep.parent / "up.jpg").symlink_to(made.base / "deep", target_is_directory=True)
    made.path("loop").symlink_to("loop")
    made.path("self.jpg").symlink_to("self.jpg")
    made.path("zero.jpg").symlink_to("/dev/zero")
    made.path("nowhere.jpg").symlink_to("nothing")
    os.mkfifo(made.path("pipe.jpg"))
    here = Path.cwd()
    os.chdir(made.base)  # the path of a socket may have 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
    os.chdir(here)
    made.path("secret.txt").write_text("not an image by its name")
    made.path(".hidden.jpg").write_bytes(turned(51))
    made.verdicts |= {
        "self.jpg": "list: symbolic links",
        "zero.jpg": "list: pipe, socket or device",
        "nowhere.jpg": "list: No such file",
        "pipe.jpg": "list: pipe, socket or device",
        "socket.jpg": "list: pipe, socket or device",
    }
    made.passed_over = 4  # up.jpg (a folder that is listed anyway), loop, secret.txt, .hidden.jpg


def make_shards(base: Path) -> Made:
    """Tars of images whose members point anywhere."""
    made = Made(base)
    made.file("members.tar", _tar(_strange_members()), {
        "../../etc/passwd": ITEM, "/root/absolute": ITEM, "twice": ITEM, "item 4": "parse: again",
        "link.jpg": "parse: links are not followed", "hard.jpg": "parse: links are not followed",
        "device.jpg": "parse: device", "between": "parse: no image beside",
        "name\nwith\x1b[0m\"lines": ITEM, "caf%E9": ITEM,
    })  # fmt: skip
    whole = _tar([(tarfile.TarInfo("a.jpg"), turned(1)), (tarfile.TarInfo("b.jpg"), turned(2))])
    made.file("cut.tar", whole[:2000], {"a": ITEM, "": "parse: cut short"})
    made.file("cut.tar.gz", gzip.compress(whole)[:-40], {"a": ITEM, "": "read: "})
    sparse = tarfile.TarInfo("sparse.jpg")
    sparse.type = tarfile.GNUTYPE_SPARSE
    made.file("sparse.tar", _tar([(sparse, b"")]), {"": "parse: sparse"})
    made.file("bomb.tar.gz", _bomb_in_a_tar(), {"huge.jpg": "parse: bytes", "after": ITEM})
    made.file("no.tar", b"no archive" * 100, {"": "parse: invalid header"})
    return made


def _strange_members() -> list[tuple[tarfile.TarInfo, bytes]]:
    names = ("../../etc/passwd.jpg", "/root/absolute.jpg", "twice.jpg", "between.txt", "twice.jpg")
    members = [(tarfile.TarInfo(name), turned(n)) for n, name in enumerate(names, 60)]
    members[3] = (members[3][0], b"a note without an image")
    for name, kind in (
        ("link.jpg", tarfile.SYMTYPE),
        ("hard.jpg", tarfile.LNKTYPE),
        ("device.jpg", tarfile.CHRTYPE),
    ):
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, "/etc/passwd"
        members.append((link, b""))
    members.append((tarfile.TarInfo('name\nwith\x1b[0m"lines.jpg'), turned(70)))
    members.append((tarfile.TarInfo(os.fsdecode(b"caf\xe9.jpg")), turned(71)))
    return members


def _tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def _bomb_in_a_tar() -> bytes:
    """A member of a GB of zeros, in a megabyte; what is behind it is read."""
    huge, after = tarfile.TarInfo("huge.jpg"), tarfile.TarInfo("after.jpg")
    huge.size, after.size = 2**30, len(turned(80))
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0) as packed:
        packed.write(huge.tobuf(tarfile.GNU_FORMAT))
        for _ in range(2**30 // 2**22):
            packed.write(bytes(2**22))
        packed.write(after.tobuf(tarfile.GNU_FORMAT) + turned(80))
        packed.write(bytes(-len(turned(80)) % 512 + 1024))
    return file.getvalue()


def make_texts(base: Path) -> Made:
    """Texts: encodings, malformed lines, bombs."""
    made = Made(base)
    _encodings(made)
    _tables(made)
    endless = b"x" * (MAX_TEXT_CHARS + 1)
    made.file(
        "endless.txt", b"a\n" + endless + b"\nc", {"1": ITEM, "2": "parse: longer", "3": ITEM}
    )
    made.file("endless.md", endless, {"": "parse: longer"})
    made.file("bomb.txt.gz", gzip.compress(bytes(2**28), 1), {"1": "parse: longer"})
    made.file("bomb.jsonl.zst", zstandard.compress(b"[" * 2**28), {"1": "parse: longer"})
    made.file("nested.jsonl", b"[" * 10**6 + b"\n" + b'{"text": "b"}', {"1": "parse: ", "2": ITEM})
    made.file("lines.txt", b"one\rtwo\r\nthree\n\n\nfour", dict.fromkeys("1236", ITEM))
    made.file("nul.txt", b"a\0b\n\0\n", {"1": ITEM, "2": ITEM})
    return made


def _encodings(made: Made) -> None:
    text = "Größe\nnaïve 漢字 🦊\nplain\n"
    for name in ("utf-8-sig", "utf-16", "utf-32"):
        made.file(f"bom-{name}.txt", text.encode(name), dict.fromkeys("123", ITEM))
    for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        made.file(f"no-bom-{name}.txt", ("So " + text).encode(name), dict.fromkeys("123", ITEM))
    western = "Größe\nplain\n".encode("latin-1")
    refused = "parse: set the source's encoding"
    made.file("latin-1.txt", western, {"1": refused, "2": ITEM})
    made.file("cp1252.txt", b"\x80 5\nplain\n", {"1": refused, "2": ITEM})
    made.file("shift-jis.txt", "漢字\nplain\n".encode("shift_jis"), {"1": refused, "2": ITEM})


def _tables(made: Made) -> None:
    made.file("bad.jsonl", b'{"text": "a"}\n{"text":\n\n{"txt": "c"}\n{"text": 4}\n"e"\n"f"', {
        "1": ITEM, "2": "parse: no JSON", "4": "parse: Did you mean 'txt'?",
        "5": "parse: its type is int", "6": ITEM, "7": ITEM,
    })  # fmt: skip
    made.file("bad.csv", b'id,text\n1,a,x\n2\n3,"c\n4,d\n5,"e"e\n6,f\n7,\n', {
        "2": "parse: 3 fields", "3": "parse: 1 fields", "4": "parse: ", "5": ITEM, "6": "parse: ",
        "7": ITEM, "8": "parse: empty text",
    })  # fmt: skip
    made.file("formula.csv", b"text\n=cmd|'/c calc'!A1\n\"<b>&amp;</b>\"\n", {"2": ITEM, "3": ITEM})
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a", "b"]}), table)
    good = table.getvalue().to_pybytes()
    made.file("good.parquet", good, {"1": ITEM, "2": ITEM})
    made.file("cut.parquet", good[:-20], {"": "parse: no Parquet"})
    made.file("footer.parquet", good[:-8] + b"\xff\xff\xff\x7fPAR1", {"": "parse: no Parquet"})
    made.file("magic.parquet", b"PAR1" + b"\0" * 99 + b"PAR1", {"": "read: thrift"})
