"""Search: the items nearest to a text, image, vector or item of the lake, as of its last snapshot.

What a user gives is a value or, for `where`, one expression that DuckDB parses by itself, on a
connection that reads the lake and nothing else; it never becomes part of a statement of ours.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import SpaceRow, connect
from data.images import decode_image
from data.vectors import vectors_of
from latentlake.errors import BadInputError, QueryError
from tasks.stages.choosing import space_to_search
from tasks.stages.hits import HITS, filtered, shown_items
from tasks.stages.space_search import open_search
from tasks.stages.spaces import live_encoder
from tasks.stages.threads import own_threads
from tasks.stages.word_search import WordSearch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from data.lake import Lake, Snapshot
    from latentlake.settings import Settings
    from models.encoders.base import ReadsQueries
    from models.types import Matrix

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What is looked for: exactly one of text, image, vector and item.

    Attributes:
        text: words; in a space of words one of them, or a sum such as "king - man + woman".
        image: the bytes of a picture.
        vector: (dim,) float32, as the space's source has them: before any reduction.
        item: an item's id or URI; its own content is no answer.
        space: where to look; by default the only space of the query's modality, and for text
            where there is none, the only space of images that reads words.
        k: how many contents to return.
        where: an SQL expression over `items` that a shown item satisfies; words: over `vocabulary`.
    """

    text: str | None = None
    image: bytes | None = None
    vector: npt.NDArray[np.float32] | None = None
    item: str | None = None
    space: str | None = None
    k: int = 10
    where: str | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found.

    Attributes:
        space: where.
        method: the factory string of the index that answered, or "exact".
        hits: columns as in `HITS`, or `WORD_HITS` in a space of words; nearest first.
        unindexed: vectors of the space that are newer than the index, and so were not searched.
    """

    space: str
    method: str
    hits: pa.Table
    unindexed: int = 0


def search(
    lake: Lake, settings: Settings, query: SearchQuery, snapshot: Snapshot | None = None
) -> SearchResult:
    """Find the contents nearest to a query, and the items that have them.

    Args:
        lake: where to look.
        settings: how encoders run.
        query: what is looked for.
        snapshot: the state to look in, with its own index; by default the last.

    Raises:
        LakeNotFoundError: nothing has been committed yet.
        QueryError: the query cannot be answered as it was put; the message says why.
        SpaceMismatchError: encoder, space and index are not of one fingerprint.
    """
    if query.k < 1:
        raise QueryError(f"k is {query.k}: ask for at least one item.")
    own_threads(settings.run.thread_count)
    snapshot = snapshot or lake.snapshot()
    with connect(lake, snapshot) as connection, blaming_where(query.where):
        return LakeSearch(lake, settings, snapshot, connection).answer(query)


@contextmanager
def blaming_where(where: str | None) -> Iterator[None]:
    """Turn DuckDB's errors into one about the user's expression, if there is one.

    Raises:
        QueryError: DuckDB cannot evaluate it.
    """
    try:
        yield
    except duckdb.Error as error:
        if where is None:
            raise  # no expression of the user's was at play: a bug
        reason = " ".join(str(error).partition("\nLINE ")[0].split())
        raise QueryError(f"where '{where}': {reason}") from error


@dataclass(frozen=True, slots=True)
class _Nearest:
    """Contents, nearest first, before their items are looked up."""

    similarity_of: dict[str, float]
    method: str
    unindexed: int = 0


@dataclass(frozen=True, slots=True)
class LakeSearch:
    """Searches of one snapshot, over one connection."""

    lake: Lake
    settings: Settings
    snapshot: Snapshot
    connection: duckdb.DuckDBPyConnection

    def answer(self, query: SearchQuery) -> SearchResult:
        """Find what one query asks for."""
        given = (query.text, query.image, query.vector, query.item)
        if sum(part is not None for part in given) != 1:
            raise QueryError("look for one thing: some words, an image, a vector or an item.")
        item = None if query.item is None else self.item(query.item)
        space = self.space_of(query, item)
        if space.is_vocabulary and query.text is not None:
            return self._words(space, query.text, query)
        vector = self._encoded(query, space) if item is None else self.stored(space, item)
        allowed = self.contents(query.where, without=item["content_id"] if item else None)
        nearest = self._nearest(space, vector, query.k, allowed)
        return SearchResult(
            space.id.name, nearest.method, self._hits(nearest, query.where), nearest.unindexed
        )

    def _words(self, space: SpaceRow, expression: str, query: SearchQuery) -> SearchResult:
        words = WordSearch(self.connection, space)
        vector, own = words.query(expression)
        nearest = self._nearest(space, vector, query.k, words.contents(query.where, own))
        hits = words.hits(nearest.similarity_of)
        return SearchResult(space.id.name, nearest.method, hits, nearest.unindexed)

    def item(self, name: str) -> Row:
        """Look an item up by its id or URI.

        Raises:
            QueryError: there is none, or there are several of different contents.
        """
        rows = self._rows(
            "SELECT item_id, source, uri, content_id, modality FROM items "
            "WHERE item_id = $1 OR uri = $1 ORDER BY source, uri",
            name,
        )
        if not rows:
            near = self._rows(
                "SELECT uri FROM items WHERE contains(uri, $1) ORDER BY length(uri), uri LIMIT 1",
                name.rstrip("/").rpartition("/")[2],
            )
            hint = f"Did you mean '{near[0]['uri']}'?" if near else "The view items has them all."
            raise QueryError(f"no item has the id or URI '{name}'. {hint}")
        if len({row["content_id"] for row in rows}) > 1:
            listed = ", ".join(f"{row['item_id']} (source {row['source']})" for row in rows)
            raise QueryError(f"several items have the URI '{name}'; give an id: {listed}.")
        return rows[0]

    def space_of(self, query: SearchQuery, item: Row | None) -> SpaceRow:
        """Return the space to look in; see `space_to_search`."""
        modality = _modality_of(query) if item is None else str(item["modality"])
        words = query.text is not None
        return space_to_search(self.lake, self.snapshot, query.space, modality, words=words)

    def _encoded(self, query: SearchQuery, space: SpaceRow) -> Matrix:
        """Encode the query, (1, dim) float32, with the very model that made the space."""
        encoder = live_encoder(self.lake, self.settings, space)
        try:
            if query.text is not None and space.modality == "image":
                words: Matrix = cast("ReadsQueries", encoder).encode_query(query.text)
                return words
            vector: Matrix = encoder.encode([encoder.prepare(_item_of(query))])
        except BadInputError as error:
            what = f"this {_modality_of(query)}" if query.text is None else f"'{query.text}'"
            raise QueryError(f"cannot look for {what}: {error}") from error
        return vector

    def stored(self, space: SpaceRow, item: Row) -> Matrix:
        """Return the item's vector, (1, dim) float32."""
        view = self.connection.view(f"embeddings_{space.id.name}")
        same = duckdb.ColumnExpression("content_id") == duckdb.ConstantExpression(
            item["content_id"]
        )
        vectors = view.filter(same).limit(1).project("vector").to_arrow_table()["vector"]
        if len(vectors) == 0:
            raise QueryError(
                f"'{item['uri']}' has no vector in space '{space.id.name}': it is in quarantine, "
                "newer than the last 'latentlake embed', or its source is not in the space."
            )
        return vectors_of(vectors.combine_chunks(), space.id.dim)

    def contents(self, where: str | None, without: str | None) -> pa.Array:
        """Return the contents that may be found: those of items for which `where` holds."""
        items = filtered(self.connection.view("items"), where)
        ids = items.project("content_id").distinct().to_arrow_table()["content_id"]
        if without is not None:
            ids = ids.filter(pc.not_equal(ids, without))
        return ids.combine_chunks()

    def _nearest(self, space: SpaceRow, vector: Matrix, k: int, allowed: pa.Array) -> _Nearest:
        ready = open_search(
            self.lake, self.settings, self.snapshot, self.connection, space, allowed
        )
        found = ready.nearest(vector, k)
        count = int((found.rows[0] >= 0).sum())
        names = ready.ids.take(pa.array(found.rows[0][:count])).to_pylist()
        similarities = found.similarities[0][:count].tolist()
        return _Nearest(dict(zip(names, similarities, strict=True)), ready.method, ready.unindexed)

    def _hits(self, nearest: _Nearest, where: str | None) -> pa.Table:
        shown = shown_items(self.connection, list(nearest.similarity_of), where)
        hits = [
            shown[content] | {"rank": rank, "similarity": similarity}
            for rank, (content, similarity) in enumerate(nearest.similarity_of.items(), start=1)
        ]
        return pa.Table.from_pylist(hits, HITS)

    def _rows(self, sql: str, value: str) -> list[Row]:
        rows: list[Row] = self.connection.sql(sql, params=[value]).to_arrow_table().to_pylist()
        return rows


def _item_of(query: SearchQuery) -> Any:
    """Return what is looked for as an encoder takes it."""
    if query.image is not None:
        return decode_image(query.image)
    return query.vector if query.text is None else query.text


def _modality_of(query: SearchQuery) -> str:
    if query.vector is not None:
        return "vector"
    return "text" if query.text is not None else "image"
