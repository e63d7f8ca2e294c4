"""The options of the built-in encoders, and how options are read: strictly, without the engines.

These classes stand apart from the encoders so that a configuration can be checked without
importing torch or gensim.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from latentlake.errors import ConfigError, nearest_hint
from models.encoders.base import EncoderOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

OptionsT = TypeVar("OptionsT", bound=EncoderOptions)


class EfficientNetLiteOptions(EncoderOptions):
    """Options of `efficientnet-lite0`.

    Attributes:
        precision: "half" computes in 16-bit floats where the machine has them, several times
            faster, with a cosine to float32 of .998 and more on average, .995 at worst.
    """

    precision: Literal["half", "float32"] = "half"


class Word2VecOptions(EncoderOptions):
    """Options of `word2vec`.

    Attributes:
        dim: the length of a vector; ignored where `path` is given.
        window: how many words to each side are context.
        min_count: rarer words are left out; "auto" is 5, or 2 or 1 where the corpus is small.
        negative: noise words drawn for each pair (negative sampling).
        subsample: words more frequent than this share are skipped at random in training.
        epochs: passes over the corpus; "auto" gives a small corpus more of them.
        skip_gram: predict the context from the word; false is the faster, coarser CBOW.
        seed: of the initial vectors and every draw.
        workers: training threads. One gives the same bytes each time; more are faster and
            do not, because they update the vectors without locks.
        sif_a: the a of the weights a / (a + p(word)); larger is nearer to a plain mean.
        remove_component: remove the direction that all documents share.
        phrases: two words that mostly stand together are one ("new_york"): found in the corpus
            by their mutual information; with `path`, those that the file has.
        path: word vectors to load instead of training: word2vec binary or text, or GloVe
            text, also gzipped.
        format: the format of `path`; "auto" looks into the file.
        limit: read only so many vectors of `path`, the first ones.
    """

    dim: PositiveInt = Field(default=100, le=4096)
    window: PositiveInt = 5
    min_count: PositiveInt | Literal["auto"] = "auto"
    negative: PositiveInt = 5
    subsample: float = Field(default=1e-4, ge=0, le=1)
    epochs: PositiveInt | Literal["auto"] = "auto"
    skip_gram: bool = True
    seed: int = Field(default=1, ge=0, lt=2**32)
    workers: PositiveInt = 1
    sif_a: PositiveFloat = 1e-3
    remove_component: bool = True
    phrases: bool = False
    path: str | None = None
    format: Literal["auto", "word2vec-binary", "word2vec-text", "glove"] = "auto"
    limit: PositiveInt | None = None


class SentenceOptions(EncoderOptions):
    """Options of `minilm`, and of `sentence-transformers` besides `path`.

    Attributes:
        precision: "half" computes in 16-bit floats where the machine has them, about twice as
            fast, with a cosine to float32 of .998 and more on average, .995 at worst.
        max_tokens: longer texts are cut; "auto" is what the model was made for.
        windows: encode long texts in pieces of `max_tokens` and take the mean, instead of cutting.
        prompt: put before every text, as some models want ("query: ").
    """

    precision: Literal["half", "float32"] = "half"
    max_tokens: PositiveInt | Literal["auto"] = "auto"
    windows: bool = False
    prompt: str = ""


class SentenceFolderOptions(SentenceOptions):
    """Options of `sentence-transformers`: a folder, or a model of the hub.

    Attributes:
        path: a folder that the sentence-transformers library has saved.
        repo: "organisation/model" on the Hugging Face hub, instead of `path`.
        revision: the commit of `repo`, 40 hexadecimal digits.
    """

    path: str | None = None
    repo: str | None = None
    revision: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> SentenceFolderOptions:
        if (self.path is None) == (self.repo is None):
            raise ValueError("give either path, a folder, or repo and revision, a model of the hub")
        if self.revision is not None and self.repo is None:
            raise ValueError("revision goes with repo, and a folder has none")
        return self


class OwnVectorsOptions(EncoderOptions):
    """Options of `vectors`.

    Attributes:
        dim: the length that vectors must have; by default the one that most of them have.
        metric: how their model means nearness to be measured.
        model: what made them, in your own words; another text is another space.
    """

    dim: PositiveInt | None = Field(default=None, le=65_536)
    metric: Literal["cosine", "inner_product", "l2"] = "cosine"
    model: str = ""


def read_options(encoder: str, options_type: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Check what a user wrote as an encoder's options.

    Args:
        encoder: the encoder's name, for the message.
        options_type: what the encoder understands.
        given: keys and values as they stand in the configuration.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named) or a value is wrong.
    """
    known = options_type.model_fields.keys()
    for key in given:
        if key not in known:
            takes = f"It takes: {', '.join(sorted(known))}." if known else "It takes no options."
            message = (
                f"encoder '{encoder}' has no option '{key}'.{nearest_hint(key, known)} {takes}"
            )
            raise ConfigError(message)
    try:
        return options_type.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # of several options together
            wrong = first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"encoder '{encoder}': {wrong}.") from error
        where = str(first["loc"][0])
        message = (
            f"encoder '{encoder}', option '{where}': {first['msg']} (it is {first['input']!r})"
        )
        raise ConfigError(message) from error


def options_json(options: EncoderOptions) -> str:
    """Return all options, defaults included, as the canonical JSON that `EncoderSpec` carries."""
    return json.dumps(options.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def options_from_json(encoder: str, options_type: type[OptionsT], text: str) -> OptionsT:
    """Read the options of an `EncoderSpec`.

    Raises:
        ConfigError: no JSON object, or not options of this encoder.
    """
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"encoder '{encoder}': its options are no JSON: {error}") from error
    if not isinstance(given, dict):
        raise ConfigError(f"encoder '{encoder}': its options are no JSON object: {text!r}")
    return read_options(encoder, options_type, given)
