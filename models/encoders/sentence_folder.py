"""A folder of the sentence-transformers library: what it says, without loading its network."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from latentlake.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor, nn

EXTRA: Final = "'.[transformers]'"
_CODE_FILES: Final = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack", ".onnx")
_POOLING_MODE: Final = "pooling_mode_"
_IGNORED: Final = (*_CODE_FILES, ".md", ".py", ".png", ".gitattributes")


@dataclass(frozen=True, slots=True)
class SentenceFolder:
    """A model folder, checked.

    Attributes:
        path: where it lies.
        digest: over the files that decide the vectors: weights, configurations, tokeniser.
        max_tokens: the longest text the model was made for, special tokens included.
        positions: the longest text the network can take at all.
        pad_id: the token that fills up the shorter texts of a batch.
        steps: the modules that a text goes through, for people: "Pooling: mean_tokens".
    """

    path: Path
    digest: str
    max_tokens: int
    positions: int
    pad_id: int
    steps: tuple[str, ...]

    def module(self) -> nn.Module:
        """Load the network by the sentence-transformers library: tokens to pooled vectors.

        Raises:
            MissingExtraError: the library is not installed.
            ConfigError: the library cannot read the folder.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "a sentence-transformers model", error.name or "sentence_transformers", EXTRA
            ) from error
        from transformers.utils import logging as library_logging

        library_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        # Of what tracing touches on its way, and of settings that only training reads.
        library_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
        try:
            loaded = SentenceTransformer(
                str(self.path),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "attn_implementation": "sdpa"},
            )
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            raise ConfigError(f"{self.path}: cannot be loaded: {error}") from error
        return _pipeline(loaded.float())


def read_sentence_folder(path: Path) -> SentenceFolder:
    """Read what a sentence-transformers folder says of itself.

    Raises:
        ConfigError: it lacks a file, or its weights are not safetensors (a pickle may run code).
    """
    for name in ("modules.json", "config.json", "tokenizer.json"):
        if not (path / name).is_file():
            raise ConfigError(
                f"{path}: no sentence-transformers folder, it lacks {name}. "
                "SentenceTransformer(...).save(folder) writes a whole one."
            )
    files = sorted(file for file in path.rglob("*") if file.is_file())
    if not any(file.suffix == ".safetensors" for file in files):
        raise ConfigError(
            f"{path}: its weights are not safetensors, and others are not loaded: they may run "
            "code. SentenceTransformer(...).save(folder) writes safetensors."
        )
    digest = hashlib.sha256()
    for file in files:
        if not file.name.endswith(_IGNORED):
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{file.relative_to(path).as_posix()} {content}\n".encode())
    config = _json(path / "config.json")
    positions = int(config.get("max_position_embeddings", 512))
    said = path / "sentence_bert_config.json"
    longest = _json(said).get("max_seq_length") if said.is_file() else None
    return SentenceFolder(
        path=path,
        digest=digest.hexdigest(),
        max_tokens=min(int(longest or positions), positions),
        positions=positions,
        pad_id=int(config.get("pad_token_id") or 0),
        steps=tuple(_steps(path)),
    )


def _steps(path: Path) -> Iterator[str]:
    modules = _parsed(path / "modules.json")
    for module in modules if isinstance(modules, list) else []:
        kind = str(module.get("type")).rpartition(".")[2]
        config = path / str(module.get("path")) / "config.json"
        if kind != "Pooling" or not config.is_file():
            yield kind
            continue
        said = _json(config)
        modes = [
            key.removeprefix(_POOLING_MODE)
            for key, value in said.items()
            if key.startswith(_POOLING_MODE) and value is True
        ]
        yield f"{kind}: {', '.join(modes) or said.get('pooling_mode', 'unknown')}"


def _json(path: Path) -> dict[str, Any]:
    found = _parsed(path)
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: no JSON object")
    return found


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON: {error}") from error


def _pipeline(modules: nn.Module) -> nn.Module:
    from torch import nn as layers

    class Pipeline(layers.Module):
        """All modules of the folder in a row: network, pooling and what else it lists."""

        def __init__(self) -> None:
            super().__init__()
            self.modules_in_order = modules

        def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
            """Map (n, length) token ids and their mask, int64, to (n, dim)."""
            features = {"input_ids": tokens, "attention_mask": mask}
            for module in self.modules_in_order.children():
                features = module(features)
            return features["sentence_embedding"]

    return Pipeline().eval()
