"""Many searches at once: queries come in blocks, and each block is one search of the index."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.catalog import connect
from latentlake.errors import BadInputError, QueryError
from latentlake.progress import report_progress
from tasks.stages.hits import HITS, WORD_HITS, shown_items
from tasks.stages.searching import LakeSearch, SearchQuery, blaming_where
from tasks.stages.space_search import open_search
from tasks.stages.spaces import live_encoder
from tasks.stages.threads import own_threads
from tasks.stages.word_search import WordSearch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from data.catalog import SpaceRow
    from data.lake import Lake, Snapshot
    from data.query_files import GivenQuery
    from latentlake.settings import Settings
    from models.encoders.base import ReadsQueries
    from models.types import Matrix
    from tasks.stages.space_search import SpaceSearch

    Nearest = dict[str, float]


@dataclass(frozen=True, slots=True)
class ManyQueries:
    """What is looked for; `SearchQuery` says more of the last three.

    Attributes:
        blocks: the queries, all of one space.
        space: where to look.
        k: how many contents to return for each.
        where: an SQL expression over `items`.
    """

    blocks: Iterable[list[GivenQuery]]
    space: str | None = None
    k: int = 10
    where: str | None = None


@dataclass(slots=True)
class ManyAnswers:
    """What is found, and what could not be looked for; complete once `reader` has been read.

    Attributes:
        reader: columns as in `HITS` or `WORD_HITS`, with the query's name as `query` before them.
        asked: how many queries there were.
        problems: the names of queries that were not answered, and why.
        unindexed: vectors that are newer than the index, and so were not searched.
    """

    reader: pa.RecordBatchReader
    asked: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    unindexed: int = 0


def search_many(
    lake: Lake, settings: Settings, queries: ManyQueries, snapshot: Snapshot | None = None
) -> ManyAnswers:
    """Find the contents nearest to each query; one that cannot be answered leaves the others.

    Args:
        lake: where to look.
        settings: how encoders run.
        queries: what is looked for.
        snapshot: the state to look in; by default the last.

    Raises:
        LakeNotFoundError: nothing has been committed yet.
        QueryError: the queries cannot be read, none of the first block can be answered, or `where`
            cannot be evaluated.
    """
    own_threads(settings.run.thread_count)
    answers = ManyAnswers(pa.RecordBatchReader.from_batches(HITS, []))
    tables = _answered(lake, settings, queries, snapshot or lake.snapshot(), answers)
    first = next(tables, None)
    if first is None:
        why = f" {answers.problems[0][0]}: {answers.problems[0][1]}." if answers.problems else ""
        raise QueryError(f"none of {answers.asked} queries can be answered.{why}")
    batches = chain.from_iterable(table.to_batches() for table in chain([first], tables))
    answers.reader = pa.RecordBatchReader.from_batches(first.schema, batches)
    return answers


def _answered(
    lake: Lake, settings: Settings, queries: ManyQueries, snapshot: Snapshot, answers: ManyAnswers
) -> Iterator[pa.Table]:
    with connect(lake, snapshot) as connection, blaming_where(queries.where):
        search = LakeSearch(lake, settings, snapshot, connection)
        opened: _OpenSpace | None = None
        for block in queries.blocks:
            answers.asked += len(block)
            opened = opened or _opened(search, queries, block, answers)
            if opened is None:
                return
            table = opened.answer(block, queries.k, answers.problems)
            report_progress("search", answers.asked, None, "queries")
            if table is not None:
                yield table


def _opened(
    search: LakeSearch, queries: ManyQueries, block: list[GivenQuery], answers: ManyAnswers
) -> _OpenSpace | None:
    """Open the space that the first sound query looks in; None where there is no such query."""
    for query in block:
        if query.problem is not None:
            answers.problems.append((query.name, query.problem))
            continue
        try:
            space = search.space_of(*_as_one(search, query, queries.space))
        except QueryError as error:
            answers.problems.append((query.name, str(error).rstrip(".")))
            continue
        answers.problems.clear()
        words = WordSearch(search.connection, space) if space.is_vocabulary else None
        allowed = (
            search.contents(queries.where, None)
            if words is None
            else words.contents(queries.where, [])
        )
        ready = open_search(
            search.lake, search.settings, search.snapshot, search.connection, space, allowed
        )
        answers.unindexed = ready.unindexed
        return _OpenSpace(search, space, ready, words, queries.where)
    return None


def _as_one(
    search: LakeSearch, query: GivenQuery, space: str | None
) -> tuple[SearchQuery, dict[str, Any] | None]:
    one = SearchQuery(text=query.text, vector=query.vector, item=query.item, space=space)
    return one, None if query.item is None else search.item(query.item)


@dataclass(slots=True)
class _OpenSpace:
    """A space that answers block after block.

    Attributes:
        search: of the snapshot.
        space: where to look.
        ready: its index.
        words: the vocabulary, in a space of words.
        where: the condition of what is shown.
        encoder: loaded once, when a query needs it.
    """

    search: LakeSearch
    space: SpaceRow
    ready: SpaceSearch
    words: WordSearch | None
    where: str | None
    encoder: Any = None

    def answer(
        self, block: list[GivenQuery], k: int, problems: list[tuple[str, str]]
    ) -> pa.Table | None:
        """Search for a block; what cannot be looked for joins the problems."""
        names: list[str] = []
        vectors: list[Matrix] = []
        own: list[list[str]] = []
        for query, found in zip(block, self._looked_up(block), strict=True):
            if isinstance(found, str):
                problems.append((query.name, found.rstrip(".")))
            else:
                names.append(query.name)
                vectors.append(found[0])
                own.append(found[1])
        if not names:
            return None
        return self._hits(names, self._nearest(np.concatenate(vectors), own, k))

    def _looked_up(self, block: list[GivenQuery]) -> list[tuple[Matrix, list[str]] | str]:
        """Return each query's vector, (1, dim), and the contents that are no answer; or why not."""
        encoded = self._encoded_at_once(block)
        return [
            (encoded[place], []) if place in encoded else self._one(query)
            for place, query in enumerate(block)
        ]

    def _one(self, query: GivenQuery) -> tuple[Matrix, list[str]] | str:
        if query.problem is not None:
            return query.problem
        try:
            one, item = _as_one(self.search, query, self.space.id.name)
            self.search.space_of(one, item)
            if item is not None:
                return self.search.stored(self.space, item), [item["content_id"]]
            if self.words is not None and query.text is not None:
                return self.words.query(query.text)
            return self._checked(self._encode([query])), []
        except (QueryError, BadInputError) as error:
            return str(error)

    def _encoded_at_once(self, block: list[GivenQuery]) -> dict[int, Matrix]:
        """Encode what the encoder takes in one batch; if it refuses one, each is tried alone."""
        kind = {"text": "text", "vector": "vector"}.get(self.space.modality)
        if kind is None or self.words is not None:
            return {}
        places = [at for at, query in enumerate(block) if getattr(query, kind) is not None]
        if not places:
            return {}
        try:
            rows = self._checked(self._encode([block[place] for place in places]))
        except (BadInputError, QueryError):
            return {}
        return {place: rows[at : at + 1] for at, place in enumerate(places)}

    def _encode(self, queries: list[GivenQuery]) -> Matrix:
        if self.encoder is None:
            self.encoder = live_encoder(self.search.lake, self.search.settings, self.space)
        if self.space.modality == "image":
            reader = cast("ReadsQueries", self.encoder)
            return np.concatenate([reader.encode_query(query.text or "") for query in queries])
        given = [query.vector if query.text is None else query.text for query in queries]
        rows: Matrix = self.encoder.encode([self.encoder.prepare(one) for one in given])
        return rows

    def _checked(self, rows: Matrix) -> Matrix:
        if not np.isfinite(rows).all():
            raise BadInputError("its vector is not finite")
        return rows

    def _nearest(self, vectors: Matrix, own: list[list[str]], k: int) -> list[Nearest]:
        """Return the k nearest contents of each query, its own left out."""
        found = self.ready.nearest(vectors, k + max(map(len, own)))
        present = found.rows >= 0
        names = iter(self.ready.ids.take(pa.array(found.rows[present])).to_pylist())
        nearest: list[Nearest] = []
        for mask, similarities, without in zip(present, found.similarities, own, strict=True):
            pairs = [(next(names), value) for value in similarities[mask].tolist()]
            others = [pair for pair in pairs if pair[0] not in without]
            nearest.append(dict(others[:k]))
        return nearest

    def _hits(self, names: list[str], nearest: list[Nearest]) -> pa.Table:
        if self.words is not None:
            schema, tables = WORD_HITS, [self.words.hits(one) for one in nearest]
        else:
            schema = HITS
            contents = list(dict.fromkeys(chain.from_iterable(nearest)))
            shown = shown_items(self.search.connection, contents, self.where)
            tables = [
                pa.Table.from_pylist(
                    [
                        shown[content] | {"rank": rank, "similarity": similarity}
                        for rank, (content, similarity) in enumerate(one.items(), start=1)
                    ],
                    schema,
                )
                for one in nearest
            ]
        hits = pa.concat_tables(tables)
        counts = [table.num_rows for table in tables]
        queries = pc.take(pa.array(names, pa.string()), np.repeat(np.arange(len(names)), counts))
        return hits.add_column(0, pa.field("query", pa.string()), queries)
