"""One S3 server for all tests, and an empty bucket for each."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from data.stores.connection import connect
from tests.s3.server import environment, running_s3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_numbers = count(1)


@dataclass(frozen=True)
class Bucket:
    """An empty bucket of the test's own."""

    name: str
    port: int

    @property
    def client(self) -> Any:
        return connect().client

    def put(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def put_folder(self, folder: Path, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    pytest.importorskip("moto")
    with running_s3() as port:
        yield port


@pytest.fixture(scope="module")
def s3(s3_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An environment that leads to the server and nowhere else; its port."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment(s3_port, tmp_path_factory.mktemp("home")).items():
            patched.setenv(name, value)
        yield s3_port


def make_bucket(port: int) -> Bucket:
    made = Bucket(f"bucket-{next(_numbers)}", port)
    made.client.create_bucket(Bucket=made.name)
    return made


@pytest.fixture
def bucket(s3: int) -> Bucket:
    """Make an empty bucket."""
    return make_bucket(s3)
