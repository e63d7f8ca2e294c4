"""The latentlake.toml that `latentlake init` writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentlake.cli.proposals import Proposal


def config_text(sources: list[Proposal]) -> str:
    """Write latentlake.toml for these sources, every key explained."""
    parts = [_HEAD]
    parts += [_source_text(source) for source in sources] or [_NO_SOURCE]
    for kind, name, encoder in (
        ("images", "cnn", "efficientnet-lite0"),
        ("text", "words", "word2vec"),
    ):
        names = [source.name for source in sources if source.kind == kind]
        if names:
            parts.append(
                f'[[spaces]]\nname = "{name}"{" " * (14 - len(name))}# its vectors: the view '
                f'embeddings_{name}\nencoder = "{encoder}"\nsources = {json.dumps(names)}\n'
                + (_SPACE_HINTS if kind == "images" or len(parts) == len(sources) + 1 else "")
            )
    parts += [_vector_space(source) for source in sources if source.kind == "vectors"]
    return "\n".join([*parts, _RUN])


_HEAD = """\
# What latentlake reads, and which vectors it makes. Paths are relative to this file's folder.
# Every key may also come from the environment: LATENTLAKE_LAKE__ROOT, LATENTLAKE_RUN__DEVICE, ...

[lake]
root = "lake"                # tables, vectors and indexes; 'run' rebuilds it, encoding all again
"""

_NO_SOURCE = """\
# [[sources]]
# name = "photos"            # letters, digits and underscores: it becomes a value in SQL
# kind = "images"            # images | text | vectors
# uri = "photos"             # a folder (any nesting), a glob, or a tar, Parquet, CSV, JSONL, npy
#
# [[spaces]]
# name = "cnn"
# encoder = "efficientnet-lite0"
# sources = ["photos"]
"""

_SPACE_HINTS = """\
# neighbours = 15            # of each content in the neighbour graph
# clusters = "auto"          # or a number
# target_recall = 0.95       # recall@10 that the search index is tuned for
# duplicates = { threshold = 0.95 }   # least cosine of near texts, default .98; photos: score, .48
"""

_RUN = """\
# [run]
# device = "auto"            # auto | cpu | cuda
# threads = "auto"           # for everything together
"""


_TAKEN = ("cnn", "words")
_VECTOR_HINTS = """\
# options = { metric = "cosine", model = "" }   # or l2, inner_product; what made the vectors
# reduce = { pca = 256 }     # keep so many principal components; 'run' says what is lost
"""


def _vector_space(source: Proposal) -> str:
    """Write a space of its own for a source of vectors: others may have other lengths."""
    name = f"{source.name}_vectors" if source.name in _TAKEN else source.name
    return (
        f'[[spaces]]\nname = "{name}"{" " * max(1, 14 - len(name))}# the view embeddings_{name}\n'
        f'encoder = "vectors"\nsources = {json.dumps([source.name])}\n{_VECTOR_HINTS}'
    )


def _source_text(source: Proposal) -> str:
    lines = ["[[sources]]", f'name = "{source.name}"', f'kind = "{source.kind}"']
    lines.append(f"uri = {_quoted(source.uri)}")
    columns = {"text": source.text, "vector": source.vector, "key": source.key}
    columns["keys"] = source.keys
    lines += [f"{name} = {_quoted(column)}" for name, column in columns.items() if column]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Write a TOML string, which is one of JSON but for the character U+007F."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
