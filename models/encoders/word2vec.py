"""The encoder `word2vec`: texts to the weighted mean of their words' vectors (SIF)."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from latentlake.errors import ConfigError, EncodeError
from models.encoders.options import Word2VecOptions, options_from_json
from models.encoders.phrase_learning import learn_phrases
from models.encoders.published_vectors import load_word_vectors
from models.encoders.sif import (
    WordIds,
    common_component,
    mean_of_words,
    sif_weighted,
    without_component,
)
from models.encoders.tokens import TOKENISER
from models.encoders.word2vec_training import (
    Corpus,
    chosen_epochs,
    chosen_min_count,
    join_phrases,
    train_word_vectors,
    write_corpus,
)
from models.encoders.word_lookup import WordLookup
from models.encoders.word_vectors_io import (
    Manifest,
    WordModel,
    WordVectors,
    read_artefact,
    write_artefact,
)
from models.types import Matrix, Metric, Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from models.encoders.base import EncoderOptions, EncoderSpec

NAME: Final = "word2vec"
REVISION: Final = 1

# The first singular vector of 100 dimensions stands firm long before this many documents.
COMPONENT_SAMPLE: Final = 20_000

BATCH: Final = 4096

# They change how a model is made, not what it is.
_WORKING_OPTIONS: Final = frozenset({"workers", "format"})


class Word2VecEncoder:
    """Texts to SIF-weighted means of word vectors, (n, dim) float32.

    The weight of each word and the removal of the common component are linear, and so are done
    once, on the table of word vectors. A document's vector is then the plain mean of table rows
    and depends on nothing but its words, to the last bit.
    """

    options_type: ClassVar[type[EncoderOptions]] = Word2VecOptions
    trainable: ClassVar[bool] = True
    modality: Modality = Modality.TEXT
    metric: Metric = Metric.COSINE

    def __init__(self, model: WordModel, artefact: Path) -> None:
        options = model.manifest.options
        weighted = sif_weighted(model.words.vectors, model.words.frequencies(), options.sif_a)
        self._table = without_component(weighted, model.component)
        self._lookup = WordLookup(model.words.lookup(), phrases=options.phrases)
        self._manifest = model.manifest
        self._artefact = artefact
        self.dim = int(self._table.shape[1])
        self.batch_size = BATCH
        self.fingerprint = _fingerprint(model.manifest)

    @classmethod
    def load(cls, spec: EncoderSpec) -> Word2VecEncoder:
        """Read the model that `train` left in the spec's artefact.

        Raises:
            ConfigError: there is no artefact in the spec, or it was trained with other options.
            LakeError: the artefact is damaged.
        """
        asked = options_from_json(NAME, Word2VecOptions, spec.options)
        if spec.artefact is None:
            raise ConfigError(f"encoder '{NAME}' needs a trained model: run 'latentlake embed'.")
        model = read_artefact(Path(spec.artefact))
        _refuse_other_options(asked, model.manifest.options, spec.artefact)
        return cls(model, Path(spec.artefact))

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        options: EncoderOptions,
        artefact: Path,
        progress: Callable[[str, float], None],
    ) -> None:
        """Train word vectors, or load those at `options.path`, and fit the common component.

        Args:
            texts: the corpus, read once; memory does not grow with it.
            options: `Word2VecOptions`.
            artefact: an existing folder; the tokenised corpus lies in it while this runs.
            progress: takes "read", "phrases", "train", "component" with the fraction done.

        Raises:
            ConfigError: the corpus has no usable word, or `path` cannot be read.
        """
        if not isinstance(options, Word2VecOptions):
            message = f"word2vec takes Word2VecOptions, not {type(options).__name__}"
            raise TypeError(message)
        spools = artefact / "corpus.txt", artefact / "phrases.txt"
        try:
            progress("read", 0.0)
            corpus = write_corpus(texts, spools[0])
            progress("read", 1.0)
            if options.phrases and options.path is None:
                corpus = _with_phrases(corpus, options, spools[1])
                progress("phrases", 1.0)
            words = _word_vectors(corpus, options, progress)
            component = _component(words, corpus, options)
            progress("component", 1.0)
        finally:
            for spool in spools:
                spool.unlink(missing_ok=True)
        write_artefact(artefact, WordModel(words, component, _manifest(corpus, options)))

    def prepare(self, item: str) -> WordIds:
        """Tokenise a text and look its words up.

        Returns:
            (words,) int32, unknown words left out.

        Raises:
            EncodeError: no word of the text is known.
        """
        (prepared,) = self.prepare_all([item])
        if isinstance(prepared, EncodeError):
            raise prepared
        return prepared

    def prepare_all(self, items: Sequence[str]) -> list[WordIds | EncodeError]:
        """Prepare many texts for the price of a few; what `prepare` would raise is returned."""
        found = self._lookup.documents(items)
        return [
            rows if len(rows) else _no_known_word(item)
            for item, rows in zip(items, found, strict=True)
        ]

    def encode(self, batch: Sequence[WordIds]) -> Matrix:
        """Return (len(batch), dim) float32, not normalised."""
        return mean_of_words(batch, self._table)

    def describe(self) -> dict[str, Any]:
        """Return what the shard footer says of this encoder."""
        return self._manifest.model_dump(mode="json")

    def words(self) -> WordVectors:
        """Return the vocabulary as it was trained or loaded: not weighted, nothing removed.

        It is read from the artefact anew: to encode texts takes a table of its own.
        """
        return read_artefact(self._artefact).words


def _no_known_word(text: str) -> EncodeError:
    shown = text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
    return EncodeError(f"no known word in {shown!r}")


def _with_phrases(corpus: Corpus, options: Word2VecOptions, path: Path) -> Corpus:
    min_count = chosen_min_count(options, corpus.words)
    return join_phrases(corpus, learn_phrases(corpus, min_count), path, min_count)


def _word_vectors(
    corpus: Corpus, options: Word2VecOptions, progress: Callable[[str, float], None]
) -> WordVectors:
    if options.path is None:
        return train_word_vectors(corpus, options, progress)
    progress("load", 0.0)
    words = load_word_vectors(Path(options.path), options.format, options.limit)
    progress("load", 1.0)
    return words


def _component(
    words: WordVectors, corpus: Corpus, options: Word2VecOptions
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Fit the component that the documents of a sample share; zeros where it is not wanted."""
    if not options.remove_component:
        return np.zeros(words.vectors.shape[1], dtype=np.float32)
    # A corpus that was trained on has its phrases joined already.
    phrases = options.phrases and options.path is not None
    lookup = WordLookup(words.lookup(), phrases=phrases)
    sample = lookup.of_words(corpus.sample(COMPONENT_SAMPLE))
    known = [ids for ids in sample if len(ids)]
    if not known:
        raise ConfigError(
            f"word2vec: none of {corpus.lines} texts has a word of '{options.path}': use vectors "
            "of the texts' language, or set remove_component = false."
        )
    table = sif_weighted(words.vectors, words.frequencies(), options.sif_a)
    return common_component(mean_of_words(known, table)).astype(np.float32)


def _manifest(corpus: Corpus, options: Word2VecOptions) -> Manifest:
    return Manifest(
        revision=REVISION,
        tokeniser=TOKENISER,
        options=options,
        epochs=0 if options.path else chosen_epochs(options, corpus.words),
        texts=corpus.lines,
        words=corpus.words,
        libraries={name: metadata.version(name) for name in ("gensim", "numpy")},
    )


def _model_options(options: Word2VecOptions) -> dict[str, Any]:
    return options.model_dump(mode="json", exclude=set(_WORKING_OPTIONS))


def _refuse_other_options(asked: Word2VecOptions, trained: Word2VecOptions, where: str) -> None:
    wanted, found = _model_options(asked), _model_options(trained)
    differing = [
        f"{key} = {found[key]} (asked for: {wanted[key]})"
        for key in sorted(wanted.keys() - {"path"})  # the vectors count, not where they lay
        if wanted[key] != found[key]
    ]
    if differing:
        raise ConfigError(
            f"the word2vec model in '{where}' was trained with {', '.join(differing)}."
        )


def _fingerprint(manifest: Manifest) -> str:
    """Digest the files' contents, the tokeniser, the options and this code's revision.

    Of word vectors that were loaded the content counts, and not the path they once had.
    """
    options = _model_options(manifest.options)
    del options["path"]
    if not options["phrases"]:  # as before there was this option
        del options["phrases"]
    recipe = {
        "encoder": NAME,
        "revision": REVISION,
        "tokeniser": TOKENISER,
        "files": manifest.files,
        "options": options,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]
