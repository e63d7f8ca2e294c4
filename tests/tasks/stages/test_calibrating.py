"""Calibration of real spaces: against a mixture that is known, stored, and used by "auto"."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner

from data.catalog import current_spaces
from latentlake.cli.main import cli
from latentlake.errors import ConfigError
from tasks.stages.altered import altered_vectors
from tasks.stages.calibrating import Wanted, calibrate_space
from tasks.stages.calibrations import stored_calibration, with_calibration
from tasks.stages.spaces import known_space, live_encoder, space_vectors
from tasks.stages.thresholds import score_threshold
from tests.cli.conftest import make_project
from tests.tasks.conftest import Project

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.stages.calibrations import Calibration


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    made = make_project(tmp_path_factory.mktemp("calibrated") / "project", samples)
    for path in sorted((samples / "photos" / "shoes").iterdir())[:14]:
        shutil.copy2(path, made.folder / "photos" / path.name)
    assert made.run().errors == ()
    return made.folder


@pytest.fixture
def project(built: Path, tmp_path: Path) -> Project:
    shutil.copytree(built, tmp_path / "project")
    return Project(tmp_path / "project")


def configure(project: Project, space: str, **settings: Any) -> None:
    path = project.folder / "latentlake.toml"
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    text = path.read_text("utf-8")
    head, mark, tail = text.partition(f'name = "{space}"\n')
    inline = ", ".join(f"{key} = {value}" for key, value in settings.items())
    assert lines
    path.write_text(f"{head}{mark}duplicates = {{ {inline} }}\n{tail}", "utf-8")


def calibrate(project: Project, space: str, **wanted: Any) -> Calibration:
    made, summary = calibrate_space(project.lake, project.settings, space, Wanted(**wanted))
    assert summary.changed
    return made


def test_altered_copies_are_encoded_like_contents(project: Project) -> None:
    """Those of one way are what the encoder itself makes of the altered text."""
    space = known_space(project.lake, "words")
    vectors = space_vectors(project.lake, project.settings, space)
    ids = vectors.content_ids.take(pa.array(range(12)))
    altered = altered_vectors(project.lake, project.settings, space, ids)
    texts = {
        row["content_id"]: project.read_notes()[row["key"]]
        for row in project.lake.read("items").to_pylist()
        if row["source"] == "notes"
    }
    encoder = live_encoder(project.lake, project.settings, space)
    assert set(altered.ways) == {"typo", "case", "cut", "reorder"}
    checked = 0
    for place, way, vector in zip(altered.originals, altered.ways, altered.vectors, strict=True):
        if way == "cut":
            words = texts[ids[int(place)].as_py()].split()
            text = " ".join(words[: int(0.85 * len(words))])
            expected = encoder.encode([encoder.prepare(text)])[0]
            np.testing.assert_allclose(vector, expected, atol=1e-5)
            checked += 1
    assert checked == 12


def test_a_calibration_of_texts_is_stored_and_used(project: Project) -> None:
    configure(project, "words", threshold='"auto"')
    first = project.run()
    (told,) = [r for r in first.receipts if (r.stage, r.subject) == ("duplicates", "words")]
    assert any("duplicates calibrate --space words" in note for note in told.notes)
    made = calibrate(project, "words", sampled=60)
    assert made.low <= made.threshold <= made.high <= 1
    assert made.copies > 200
    assert sum(made.of_copies) == made.copies
    assert 0.5 < made.recall <= 1
    assert set(made.recall_by_way) == {"typo", "case", "cut", "reorder"}
    assert made.examples
    space = known_space(project.lake, "words")
    assert stored_calibration(project.lake, space) == made
    resolved = with_calibration(project.lake, project.settings, space)
    assert score_threshold(resolved, space) == made.threshold
    second = project.run()
    assert second.changed
    rows = project.lake.read("duplicates", where=pc.field("space") == "words").to_pylist()
    near = [row["threshold"] for row in rows if row["kind"] == "semantic"]
    assert near == pytest.approx([made.threshold] * len(near))
    assert not project.run().changed


def test_a_calibration_is_the_same_again(project: Project) -> None:
    one = calibrate(project, "words", sampled=40)
    assert calibrate(project, "words", sampled=40) == one
    higher = calibrate(project, "words", sampled=40, precision=0.999)
    assert higher.threshold >= one.threshold


def test_verified_photos_are_calibrated_by_their_scores(project: Project) -> None:
    made = calibrate(project, "cnn", sampled=20)
    assert made.verified
    assert 0 < made.threshold <= 1
    assert made.copies == 6 * made.sampled == 120
    # What pixels prove, vectors alone do not: a mirrored or re-encoded photo is sure.
    assert made.recall_by_way["flip"] == made.recall_by_way["recompress"] == 1
    configure(project, "cnn", threshold='"auto"')
    space = known_space(project.lake, "cnn")
    resolved = with_calibration(project.lake, project.settings, space)
    assert score_threshold(resolved, space) == made.threshold
    plain = Project(project.folder)
    text = (plain.folder / "latentlake.toml").read_text("utf-8")
    (plain.folder / "latentlake.toml").write_text(
        text.replace('threshold = "auto"', 'threshold = "auto", verify = false'), "utf-8"
    )
    # A score is no cosine: without verification this calibration is none.
    assert score_threshold(with_calibration(plain.lake, plain.settings, space), space) == 0.9
    cosines = calibrate(plain, "cnn", sampled=20)
    assert not cosines.verified
    assert score_threshold(with_calibration(plain.lake, plain.settings, space), space) == (
        cosines.threshold
    )


def test_what_cannot_be_altered_is_refused(project: Project) -> None:
    lake, settings = project.lake, project.settings
    words = next(space for space in current_spaces(lake).values() if space.is_vocabulary)
    with pytest.raises(ConfigError, match="nobody can make altered copies"):
        altered_vectors(lake, settings, words, pa.array([], pa.string()))
    with pytest.raises(ConfigError, match="too little to calibrate by"):
        calibrate_space(lake, settings, "cnn", Wanted(sampled=2))


def test_the_command_shows_draws_and_stores(project: Project, tmp_path: Path) -> None:
    config = ("--config", str(project.folder / "latentlake.toml"))
    command = ("duplicates", "calibrate", "--space", "words", "--sample", "30", *config)
    plot = tmp_path / "words.svg"
    done = CliRunner().invoke(cli, [*command, "--plot", str(plot)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    stored = stored_calibration(project.lake, known_space(project.lake, "words"))
    assert stored is not None
    assert f"words: threshold {stored.threshold:.4g}" in done.stdout
    assert "<- " in done.stdout
    assert 'Next: duplicates.threshold = "auto"' in done.stdout
    assert plot.read_text("utf-8").count("<rect ") == 1 + 3 * len(stored.of_copies)
    (told,) = json.loads(CliRunner().invoke(cli, [*command, "--format", "json"]).stdout)
    assert told["threshold"] == stored.threshold
    several = CliRunner().invoke(cli, ["duplicates", "calibrate", *config])
    assert several.exit_code == 2
    assert "name one --space to calibrate: cnn, words" in several.stderr
