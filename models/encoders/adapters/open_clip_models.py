"""`open_clip:<model>`: images and words in one space, by any model of the library open_clip."""

from __future__ import annotations

import hashlib
from importlib import metadata
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final

import torch
from torch import Tensor, nn

from latentlake.errors import ConfigError, EncodeError, nearest_hint
from models.encoders.adapters.options import OpenClipOptions
from models.encoders.adapters.torch_images import engine_opener, fetching, module_digest
from models.encoders.image_encoder import ImageEncoder, ImageModel
from models.encoders.options import options_from_json
from models.encoders.preprocessing import Preprocessing, as_interpolation

if TYPE_CHECKING:
    from models.encoders.base import EncoderOptions, EncoderSpec
    from models.types import Matrix

REVISION: Final = 1

_PROBES: Final = [
    "a photo of a red dress",
    "A Photo, of a Red-Dress!  2",
    "naïve café, 東京 🎩",
    "the quick brown fox " * 40,
]
"""Texts whose tokens tell one tokeniser, its cleaning and its length from another."""


class OpenClipEncoder(ImageEncoder):
    """Pictures to unit vectors, among which `encode_query` puts words."""

    options_type: ClassVar[type[EncoderOptions]] = OpenClipOptions

    def __init__(
        self, spec: EncoderSpec, model: ImageModel, clip: nn.Module, tokenize: Any
    ) -> None:
        super().__init__(spec, model)
        self._clip = clip
        self._tokenize = tokenize
        self._turn = Lock()

    @classmethod
    def load(cls, spec: EncoderSpec) -> OpenClipEncoder:
        """Make both towers, by published weights or by those in a file.

        Raises:
            ConfigError: open_clip has no such model or weights, or they cannot be had.
        """
        import open_clip

        options = options_from_json(spec.name, OpenClipOptions, spec.options)
        name = spec.name.partition(":")[2]
        # A name with a colon is a place ("hf-hub:org/model", "local-dir:folder"), weights included.
        if ":" not in name:
            _check_names(open_clip, name, options)
        with fetching(spec.name):
            clip = open_clip.create_model(
                name, pretrained=options.path or options.pretrained, precision="fp32", device="cpu"
            ).eval()
            tokenize = open_clip.get_tokenizer(name)
            tokens = tokenize(_PROBES)
        preprocessing = _preprocessing(open_clip.get_model_preprocess_cfg(clip), spec.name)
        digest = hashlib.sha256(f"{module_digest(clip)} {tokens.tolist()}".encode()).hexdigest()
        model = ImageModel(
            name=spec.name,
            family="open_clip",
            revision=REVISION,
            weights=digest,
            preprocessing=preprocessing,
            options=options,
            precision=options.precision,
            open_engine=engine_opener(_ImageTower(clip), preprocessing, spec, digest),
            libraries={name: metadata.version(name) for name in ("open_clip_torch", "torch")},
            origins=frozenset({"path", "pretrained"}),
        )
        return cls(spec, model, clip, tokenize)

    def encode_query(self, text: str) -> Matrix:
        """Return the vector of some words, (1, dim) float32 of length 1.

        Raises:
            EncodeError: there are no words.
        """
        if not text.strip():
            raise EncodeError("the text has no word (it is empty, or white space)")
        with self._turn, torch.inference_mode():
            # The towers share a module, which an engine may have moved to a GPU.
            device = next(self._clip.parameters()).device
            tokens = self._tokenize([text]).to(device)
            found: Tensor = self._clip.encode_text(tokens, normalize=True)  # type: ignore[operator]
        rows: Matrix = found.float().cpu().numpy()
        return rows


class _ImageTower(nn.Module):
    """The tower for images alone, with its normalisation."""

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (n, 3, height, width) to (n, dim), each row of length 1."""
        rows: Tensor = self.clip.encode_image(pixels, normalize=True)  # type: ignore[operator]
        return rows


def _check_names(open_clip: Any, name: str, options: OpenClipOptions) -> None:
    known = open_clip.list_models()
    if name not in known:
        raise ConfigError(f"open_clip has no model '{name}'.{nearest_hint(name, known)}")
    if options.path is not None:
        return
    tags = open_clip.list_pretrained_tags_by_model(name)
    if options.pretrained is None:
        listed = ", ".join(tags) or "none are published"
        raise ConfigError(
            f"encoder 'open_clip:{name}' needs weights: options = {{ pretrained = \"...\" }} "
            f"with one of {listed}; or path, a file of weights."
        )
    if options.pretrained not in tags:
        hint = nearest_hint(options.pretrained, tags)
        raise ConfigError(
            f"encoder 'open_clip:{name}' has no weights '{options.pretrained}'.{hint} "
            f"Published: {', '.join(tags)}."
        )


def _preprocessing(config: dict[str, Any], encoder: str) -> Preprocessing:
    """Read open_clip's numbers; as its `image_transform` does for inference."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    fill = config.get("fill_color", 0)
    return Preprocessing(
        size=(height, width),
        scale=(height, width),
        fit=config.get("resize_mode") or "shortest",
        interpolation=as_interpolation(config.get("interpolation") or "bicubic", encoder),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        fill=(fill, fill, fill) if isinstance(fill, int) else tuple(fill),
    )
