"""Nearest words and analogies: what `latentlake search` answers in a space of words.

A query is a sum of words, such as "king - man + woman". Its answer are the words nearest to the sum
of the words' unit vectors, the words of the query left out (3CosAdd: Mikolov, Yih and Zweig,
"Linguistic Regularities in Continuous Space Word Representations", NAACL 2013; the name and the
equal weights are those of Levy and Goldberg, CoNLL 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.vectors import vectors_of
from latentlake.errors import QueryError
from models.encoders.tokens import tokenise
from models.types import normalised
from tasks.stages.hits import WORD_HITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from data.catalog import SpaceRow
    from models.types import Matrix

_BY_WORD: Final = "SELECT word, content_id FROM vocabulary WHERE space = $1 AND word IN $2"
_BY_CONTENT: Final = "FROM vocabulary WHERE space = $1 AND content_id IN $2"
_SPELT_NEARLY: Final = """
SELECT word, damerau_levenshtein(lower(word), lower($2)) AS edits
FROM vocabulary WHERE space = $1 AND edits <= greatest(2, length($2) // 3)
ORDER BY edits, rank LIMIT 3"""
_SIGNS: Final = {"+": 1.0, "-": -1.0}
_LEAST_LENGTH: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Term:
    """A word with its sign: +1 or -1."""

    sign: float
    word: str


def parse_words(expression: str) -> list[Term]:
    """Read a sum of words; signs are tokens of their own, so "e-mail" is a word.

    Words without a sign between them are one entry of the vocabulary, such as "new york".

    Raises:
        QueryError: a sign without a word, or no word at all.
    """
    tokens = expression.split()
    if len(tokens) == 1:
        return [Term(1.0, tokens[0])]
    terms: list[Term] = []
    sign, words = 1.0, list[str]()
    for token in [*tokens, "+"]:
        if token not in _SIGNS:
            words.append(token)
            continue
        if words:
            terms.append(Term(sign, " ".join(words)))
        elif terms or sign < 0:
            raise QueryError(f"'{expression}': a sign without a word. Write 'king - man + woman'.")
        sign, words = _SIGNS[token], []
    if not terms:
        raise QueryError("no word to look for: write one, or a sum such as 'king - man + woman'.")
    return terms


@dataclass(frozen=True, slots=True)
class WordSearch:
    """The words of one space, as of a snapshot."""

    connection: duckdb.DuckDBPyConnection
    space: SpaceRow

    def query(self, expression: str) -> tuple[Matrix, list[str]]:
        """Return the vector that is looked for, (1, dim) float32, and the contents of its words.

        Raises:
            QueryError: a word is not in the vocabulary (near spellings are given), or nothing is
                left of the sum.
        """
        terms = parse_words(expression)
        found = [self._content(term.word) for term in terms]
        units = normalised(self._vectors(found))
        signs = np.array([[term.sign] for term in terms])
        total = (signs * units).sum(axis=0, keepdims=True).astype(np.float32)
        if np.linalg.norm(total) < _LEAST_LENGTH:
            raise QueryError(f"'{expression}' adds up to nothing: it has no direction to look in.")
        return total, found

    def contents(self, where: str | None, without: list[str]) -> pa.Array:
        """Return the words that may be found, by their contents."""
        words = self._words() if where is None else self._words().filter(where)
        ids = words.project("content_id").to_arrow_table()["content_id"].combine_chunks()
        return ids.filter(pc.invert(pc.is_in(ids, value_set=pa.array(without, pa.string()))))

    def hits(self, similarity_of: Mapping[str, float]) -> pa.Table:
        """Return rows of `WORD_HITS`, nearest first."""
        ids = list(similarity_of)
        rows = {row["content_id"]: row for row in self._rows(_BY_CONTENT, ids)}
        return pa.Table.from_pylist(
            [
                {
                    "rank": rank,
                    "similarity": similarity_of[content],
                    "word": rows[content]["word"],
                    "count": rows[content]["count"],
                    "frequency_rank": rows[content]["rank"],
                    "content_id": content,
                }
                for rank, content in enumerate(ids, start=1)
            ],
            WORD_HITS,
        )

    def _content(self, word: str) -> str:
        """Look a word up as it is written, else as the tokeniser would write it."""
        tokens = tokenise(word)
        spellings = list(dict.fromkeys([word, *(joint.join(tokens) for joint in ("_", " ", "-"))]))
        found = {row["word"]: row["content_id"] for row in self._rows(_BY_WORD, spellings)}
        for spelling in spellings:
            if spelling in found:
                return str(found[spelling])
        name = self.space.id.name
        near = self.connection.execute(_SPELT_NEARLY, [name, word]).fetchall()
        listed = ", ".join(f"'{one}'" for one, _ in near)
        hint = f" Did you mean {listed}?" if near else " No word is spelt nearly so."
        raise QueryError(f"no word '{word}' in space '{name}'.{hint}")

    def _vectors(self, contents: list[str]) -> Matrix:
        view = f"embeddings_{self.space.id.name}"
        rows = self.connection.sql(
            "SELECT content_id, vector FROM query_table($1) WHERE content_id IN $2",
            params=[view, list(set(contents))],
        )
        found = rows.to_arrow_table()
        matrix = vectors_of(found["vector"], self.space.id.dim)
        place = {content: at for at, content in enumerate(found["content_id"].to_pylist())}
        if not place.keys() >= set(contents):
            raise QueryError(f"space '{self.space.id.name}' lacks vectors: run 'latentlake embed'.")
        return matrix[[place[content] for content in contents]]

    def _words(self) -> duckdb.DuckDBPyRelation:
        of_space = duckdb.ColumnExpression("space") == duckdb.ConstantExpression(self.space.id.name)
        return self.connection.view("vocabulary").filter(of_space)

    def _rows(self, sql: str, values: list[str]) -> list[dict[str, Any]]:
        found = self.connection.sql(sql, params=[self.space.id.name, values])
        rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
        return rows
