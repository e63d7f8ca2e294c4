"""What is wrong with a place on S3 is told at the start, on one line, with the way out."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from data.stores import open_store
from latentlake.cli.main import cli
from latentlake.errors import ConfigError, StoreError, StoreUnavailableError
from tests.s3.server import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.s3.conftest import Bucket


@contextmanager
def refusing(status: int, code: str) -> Iterator[str]:
    """Run a server that gives every request S3's answer for one error; yield its URL."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configure(folder: Path, root: str) -> list[str]:
    config = folder / "latentlake.toml"
    config.write_text(f'[lake]\nroot = "{root}"\n', "utf-8")
    return ["--config", str(config)]


@pytest.mark.parametrize(
    ("status", "code", "way_out"),
    [
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (403, "SignatureDoesNotMatch", "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (400, "ExpiredToken", "AWS_SESSION_TOKEN"),
        (403, "AccessDenied", "use-s3.md lists what is needed"),
        (404, "NoSuchBucket", "create it, or correct its name"),
    ],
)
@pytest.mark.usefixtures("s3")
def test_a_refusal_names_its_reason_and_the_way_out(
    status: int, code: str, way_out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing(status, code) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(StoreError, match=rf"s3://bucket/lake: S3 says {code}.*{way_out}"):
            open_store("s3://bucket/lake")
        for command in ("status", "doctor", "verify"):
            done = CliRunner().invoke(cli, [command, *configure(tmp_path, "s3://bucket/lake")])
            assert done.exit_code == 1
            assert way_out in " ".join(done.output.split())
            assert SECRET not in done.output


@pytest.mark.usefixtures("s3")
def test_an_endpoint_where_nobody_answers_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("data.stores.retries.time.sleep", pauses.append)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:9: check AWS_ENDPOINT_URL"):
        open_store("s3://bucket/lake")
    assert len(pauses) == 2
    assert sum(pauses) < 1
    done = CliRunner().invoke(cli, ["status", *configure(tmp_path, "s3://bucket/lake")])
    assert done.exit_code == 1
    assert "check AWS_ENDPOINT_URL" in done.output


def test_without_credentials_or_region_the_variables_are_named(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"s3://{bucket.name}/lake"
    with monkeypatch.context() as patched:
        for name in ("AWS_REGION", "AWS_ENDPOINT_URL"):
            patched.delenv(name)
        with pytest.raises(ConfigError, match=r"no region\. Set AWS_REGION"):
            open_store(root)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match=r"no credentials\. Set AWS_ACCESS_KEY_ID"):
        open_store(root)


@pytest.mark.usefixtures("s3")
def test_a_bucket_of_another_region_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    from data.stores import checks

    class Elsewhere:
        """A connection to Amazon S3, as far as this check looks at it."""

        endpoint, region = None, "us-east-1"
        client = property(lambda self: self)

        def list_objects_v2(self, **_: object) -> dict[str, object]:
            return {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": "eu-west-1"}}}

    monkeypatch.setattr(checks, "connect", Elsewhere)
    with pytest.raises(ConfigError, match="in eu-west-1: set AWS_REGION=eu-west-1"):
        checks.check_bucket("bucket", "lake/")


def test_an_empty_place_is_no_lake_yet(bucket: Bucket, tmp_path: Path) -> None:
    config = configure(tmp_path, f"s3://{bucket.name}/lake")
    assert "none yet" in CliRunner().invoke(cli, ["doctor", *config]).output
    done = CliRunner().invoke(cli, ["status", *config])
    assert done.exit_code == 1
    assert "latentlake run" in done.output
    assert bucket.keys() == []
