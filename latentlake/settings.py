"""latentlake.toml: one strict file, an environment variable for each setting, a default for each.

`LATENTLAKE_<TABLE>__<KEY>` overrides a key, for example `LATENTLAKE_LAKE__ROOT=/mnt/lake` or
`LATENTLAKE_RUN__DEVICE=cpu`; `LATENTLAKE_SOURCES` and `LATENTLAKE_SPACES` take JSON. Relative
places are relative to the folder of the file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from latentlake.duplicate_settings import DuplicateSettings
from latentlake.errors import ConfigError, nearest_hint
from latentlake.head_settings import ReduceSettings
from latentlake.index_settings import IndexSettings
from latentlake.limits import LimitSettings
from latentlake.names import vocabulary_name
from latentlake.source_settings import Name, SourceSettings

CONFIG_NAME = "latentlake.toml"
ENVIRONMENT_PREFIX = "LATENTLAKE_"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LakeSettings(_Table):
    """Where the lake is."""

    root: str = Field(
        "lake", description="A folder, relative to latentlake.toml, or s3://bucket/prefix."
    )


class SpaceSettings(_Table):
    """One encoder over some sources."""

    name: Name = Field(description="What the space is called: its view is embeddings_<name>.")
    encoder: str = Field(description="A registered encoder.")
    sources: tuple[Name, ...] = Field(min_length=1, description="The sources it encodes.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="The encoder's own options; see the encoder's page."
    )
    vocabulary: bool = Field(
        default=True,
        description="Make the words of a word2vec space a space of their own, <name>_vocabulary.",
    )
    neighbours: PositiveInt = Field(15, description="k of the neighbour graph.")
    graph_recall: float = Field(
        0.9, gt=0, le=1, description="Share of the true neighbours that the graph is tuned for."
    )
    clusters: PositiveInt | Literal["auto"] = Field(
        "auto", description="How many clusters; 'auto' grows with the square root of the rows."
    )
    target_recall: float = Field(
        0.95, gt=0, le=1, description="recall@10 that the index is tuned for."
    )
    index: IndexSettings = Field(
        default_factory=IndexSettings, description="How the search index is chosen."
    )
    reduce: ReduceSettings | None = Field(
        None, description="Keep principal components only, such as { pca = 256 }."
    )
    centre: bool | Literal["auto"] = Field(
        "auto",
        description="Take the mean off every vector; 'auto' does so where reduce is set and the "
        "metric is l2.",
    )
    normalise: bool = Field(
        default=False, description="Scale every vector to length 1, after the other two."
    )
    promote: Literal["auto", "manual"] = Field(
        "auto",
        description="When a new version replaces the current one: 'auto' at the end of the run "
        "that completes it, 'manual' by 'latentlake spaces promote'.",
    )
    duplicates: DuplicateSettings = Field(
        default_factory=DuplicateSettings, description="What counts as a near-duplicate."
    )


class RunSettings(_Table):
    """How a run uses the machine."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where encoders run; 'auto' takes CUDA where there is one."
    )
    engine: Literal["auto", "openvino", "torch"] = Field(
        "auto",
        description="What computes networks; 'auto': torch on CUDA, OpenVINO on the processor.",
    )
    threads: PositiveInt | Literal["auto"] = Field(
        "auto", description="Threads for everything together; 'auto' is one a core."
    )
    batch_size: PositiveInt | Literal["auto"] = Field(
        "auto", description="Items a forward pass; 'auto' is what the encoder prefers."
    )
    shard_rows: PositiveInt = Field(16384, description="Vectors a shard, at most.")
    seed: int = Field(0, description="The seed of every random choice.")

    @property
    def thread_count(self) -> int:
        """The thread budget as a number."""
        if self.threads != "auto":
            return self.threads
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )


class Settings(BaseSettings):
    """The whole configuration, read once at the edge and frozen."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    lake: LakeSettings = Field(default_factory=LakeSettings)
    sources: tuple[SourceSettings, ...] = ()
    spaces: tuple[SpaceSettings, ...] = ()
    run: RunSettings = Field(default_factory=RunSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic-settings passes all by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which arrives as init arguments."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _names_fit(self) -> Settings:
        _refuse_twice("source", [source.name for source in self.sources])
        _refuse_twice("space", [space.name for space in self.spaces])
        known = {source.name: source for source in self.sources}
        for space in self.spaces:
            for name in space.sources:
                if name not in known:
                    hint = nearest_hint(name, known)
                    message = f"space '{space.name}' names the unknown source '{name}'.{hint}"
                    raise ValueError(message)
            kinds = {known[name].kind for name in space.sources}
            if len(kinds) > 1:
                mixed = " and of ".join(sorted(kinds))
                message = f"space '{space.name}' mixes sources of {mixed}"
                raise ValueError(message)
        return self

    @property
    def root(self) -> str:
        """The lake's root as an absolute path, or as the URL that was given."""
        return self.resolve(self.lake.root)

    def resolve(self, place: str) -> str:
        """Make a configured place absolute; URLs stay as they are."""
        if "://" in place:
            return place
        return str(self._folder / Path(place).expanduser())

    def source(self, name: str) -> SourceSettings:
        """Look a source up by name."""
        for source in self.sources:
            if source.name == name:
                return source
        raise ConfigError(_unknown("source", name, [source.name for source in self.sources]))

    def space(self, name: str) -> SpaceSettings:
        """Look a space up by name; a vocabulary has the settings of the space it is made with."""
        for space in self.spaces:
            if space.name == name:
                return space
        for space in self.spaces:
            if vocabulary_name(space.name) == name:
                return space.model_copy(update={"name": name})
        raise ConfigError(_unknown("space", name, [space.name for space in self.spaces]))

    def with_duplicates(self, name: str, changes: dict[str, Any]) -> Settings:
        """Return settings in which fields of a space's `duplicates` are other ones."""
        changed = self.space(name).duplicates.model_copy(update=changes)
        spaces = tuple(
            space.model_copy(update={"duplicates": changed}) if space.name == name else space
            for space in self.spaces
        )
        return self.model_copy(update={"spaces": spaces})


def _refuse_twice(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            message = f"two {what}s are called '{name}'"
            raise ValueError(message)


def _unknown(what: str, name: str, known: list[str]) -> str:
    listed = ", ".join(known) or "none"
    return f"no {what} '{name}' in {CONFIG_NAME}.{nearest_hint(name, known)} Configured: {listed}."


def find_config(start: Path) -> Path:
    """Return the nearest latentlake.toml in a folder or above it.

    Raises:
        ConfigError: there is none.
    """
    for folder in (start, *start.parents):
        if (folder / CONFIG_NAME).is_file():
            return folder / CONFIG_NAME
    raise ConfigError(f"no {CONFIG_NAME} in {start} or above: 'latentlake init' writes one.")


def load_settings(config: str | Path | None = None) -> Settings:
    """Read the configuration strictly.

    Args:
        config: the file; by default the nearest latentlake.toml upwards.

    Raises:
        ConfigError: no file, no TOML, an unknown key (the nearest known one is named), a bad value.
    """
    path = Path(config).absolute() if config else find_config(Path.cwd())
    _refuse_unknown_variables()
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; 'latentlake init' writes one.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no valid TOML: {error}") from None
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None
    settings._folder = path.parent  # noqa: SLF001  its own class, right after it was built
    return settings


def _refuse_unknown_variables() -> None:
    """Refuse a misspelt table in the environment, which pydantic-settings would pass over."""
    for variable in os.environ:
        if variable.startswith(ENVIRONMENT_PREFIX):
            table = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
            if table not in Settings.model_fields:
                hint = nearest_hint(table, Settings.model_fields)
                raise ConfigError(f"environment variable {variable}: no table '{table}'.{hint}")


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            *parents, key = problem["loc"]
            hint = nearest_hint(str(key), _fields_at(parents))
            problems.append(f"unknown key '{where}'.{hint}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            problems.append(f"{where}: {message}" if where else message)
    return "; ".join(problems)


def _fields_at(location: list[str | int]) -> list[str]:
    """Return the known keys of the table at a location of the configuration."""
    model: type[BaseModel] = Settings
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_inside(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_inside(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_inside(inner)
        if found:
            return found
    return None
