"""latentlake.toml is read strictly, and every mistake is named with its way out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from latentlake.errors import ConfigError
from latentlake.limits import LEAST_MEMORY
from latentlake.settings import find_config, load_settings

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = '[[sources]]\nname = "photos"\nkind = "images"\nuri = "pictures"\n'
SPACE = '[[spaces]]\nname = "cnn"\nencoder = "efficientnet-lite0"\nsources = ["photos"]\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "latentlake.toml"


def test_places_are_relative_to_the_file(config: Path) -> None:
    config.write_text(SOURCE + SPACE)
    settings = load_settings(config)
    assert settings.root == str(config.parent / "lake")
    assert settings.resolve(settings.source("photos").uri) == str(config.parent / "pictures")
    assert settings.resolve("/elsewhere/x") == "/elsewhere/x"
    assert settings.resolve("s3://bucket/x") == "s3://bucket/x"


def test_the_nearest_file_upwards_is_found(config: Path) -> None:
    config.write_text(SOURCE)
    below = config.parent / "a" / "b"
    below.mkdir(parents=True)
    assert find_config(below) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[lake]\nroott = "x"', r"unknown key 'lake\.roott'\. Did you mean 'root'\?"),
        ('[laek]\nroot = "x"', r"unknown key 'laek'\. Did you mean 'lake'\?"),
        (SOURCE + 'txet = "a"', r"unknown key 'sources\.0\.txet'\. Did you mean 'text'\?"),
        (SOURCE + SPACE + "duplicates = { tresh = 1 }", "Did you mean 'threshold'"),
        (SOURCE.replace("images", "sounds"), r"sources\.0\.kind.*'images', 'text' or 'vectors'"),
        (SOURCE + SOURCE, "two sources are called 'photos'"),
        (SOURCE + SPACE + SPACE, "two spaces are called 'cnn'"),
        (SOURCE + SPACE.replace('["photos"]', '["photo"]'), "unknown source 'photo'. Did you"),
        (SOURCE.replace('"photos"', '"My Photos"'), r"sources\.0\.name"),
        ("[run]\nthreads = 0", r"run\.threads"),
        ('[limits]\nmemory = "1MB"', r"limits\.memory: 1MB is less than 256MB"),
        ('[limits]\nmemory = "4 apples"', r"limits\.memory.*apples"),
        ("[lake", "no valid TOML"),
    ],
)
def test_a_mistake_is_named(config: Path, text: str, message: str) -> None:
    config.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_settings(config)


@pytest.mark.parametrize(
    ("text", "size"),
    [('"4GB"', 4 * 10**9), ('"512MiB"', 512 * 2**20), ("300000000", 300_000_000)],
)
def test_memory_is_given_in_human_sizes(config: Path, text: str, size: int) -> None:
    config.write_text(f"[limits]\nmemory = {text}")
    assert load_settings(config).limits.memory_bytes == size


def test_memory_is_half_of_the_machine_s_by_default(config: Path) -> None:
    config.write_text("")
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert LEAST_MEMORY <= load_settings(config).limits.memory_bytes <= physical // 2


def test_sources_of_two_kinds_do_not_share_a_space(config: Path) -> None:
    notes = SOURCE.replace("photos", "notes").replace("images", "text")
    config.write_text(SOURCE + notes + SPACE.replace('"photos"]', '"photos", "notes"]'))
    with pytest.raises(ConfigError, match="mixes sources of images and of text"):
        load_settings(config)


def test_the_environment_wins_over_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text('[lake]\nroot = "one"\n[run]\nshard_rows = 10')
    monkeypatch.setenv("LATENTLAKE_LAKE__ROOT", "/two")
    monkeypatch.setenv("LATENTLAKE_RUN__DEVICE", "cpu")
    settings = load_settings(config)
    assert settings.root == "/two"
    assert settings.run.device == "cpu"
    assert settings.run.shard_rows == 10


@pytest.mark.parametrize("variable", ["LATENTLAKE_LAEK__ROOT", "LATENTLAKE_LAKE__ROOTT"])
def test_a_misspelt_variable_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    config.write_text(SOURCE)
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigError, match="Did you mean"):
        load_settings(config)


def test_without_a_file_the_way_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="latentlake init"):
        find_config(tmp_path)
    with pytest.raises(ConfigError, match="latentlake init"):
        load_settings(tmp_path / "none.toml")


def test_an_unknown_name_is_refused_with_the_nearest(config: Path) -> None:
    config.write_text(SOURCE + SPACE)
    with pytest.raises(ConfigError, match=r"no space 'cn' in .* Did you mean 'cnn'"):
        load_settings(config).space("cn")
