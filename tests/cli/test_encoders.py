"""`latentlake encoders` names every encoder there is, and what each needs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from click.testing import CliRunner

from latentlake.cli.main import cli
from models.encoders.adapters.families import FAMILIES
from models.encoders.registry import encoder_names

ROOT = Path(__file__).resolve().parents[2]


def test_every_encoder_has_a_line() -> None:
    done = CliRunner().invoke(cli, ["encoders", "--format", "json"], catch_exceptions=False)
    assert done.exit_code == 0
    found = {row["encoder"].partition(":")[0]: row for row in json.loads(done.stdout)}
    assert set(found) == {*encoder_names(), *FAMILIES}
    assert all(row["about"].endswith(".") for row in found.values())
    assert found["efficientnet-lite0"]["takes"] == "images"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {row["extra"] for row in found.values()} - {""} <= set(extras["optional-dependencies"])
    assert found["minilm"]["extra"] == "transformers"
    assert found["vectors"]["installed"] is True
    text = CliRunner().invoke(cli, ["encoders"], catch_exceptions=False).stdout
    assert "timm:<model>" in text
    assert "pip install" in text
