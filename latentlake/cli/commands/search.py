"""`latentlake search`: the nearest items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentlake.cli.options import as_of_option, config_option, examples, output_options
from latentlake.cli.output import Output, Result
from latentlake.cli.sheets import hit_strip, sheet_option, with_sheet

if TYPE_CHECKING:
    from tasks.stages.searching import SearchResult


@click.command(
    epilog=examples(
        "latentlake search convolutional networks for grasping",
        "latentlake search --image shirt.jpg -k 5",
        "latentlake search --image shirt.jpg -k 30 --sheet like-it.jpg",
        "latentlake search --space photos a red dress",
        "latentlake search --vector query.npy --space mine",
        "latentlake search --item photos/shirt/0a.jpg --space cnn",
        "latentlake search 'dark matter' --where \"metadata->>'primary_cat' = 'astro-ph.CO'\"",
        "latentlake search --image shirt.jpg --where 'width >= 640' --format json",
        "latentlake search --space words_vocabulary king - man + woman",
        "latentlake search --file queries.csv -k 5 --output hits.parquet",
    )
)
@click.argument("words", nargs=-1)
@click.option(
    "--image",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look for what is like this picture.",
)
@click.option(
    "--vector",
    metavar="FILE_OR_JSON",
    help="Look for what is like this vector: a .npy, a JSON file, or a JSON list of numbers.",
)
@click.option("--item", metavar="ID_OR_URI", help="Look for what is like this item of the lake.")
@click.option(
    "--file",
    "many",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look for each query of a file: .csv, .jsonl or .parquet with a column text, vector or "
    "item (and id), .txt with a text a line, .npy with a vector a row.",
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--space", metavar="NAME", help="Where to look.  [default: the only space that fits]")
@click.option(
    "--where", metavar="SQL", help="Only items for which this holds; metadata is a JSON column."
)
@sheet_option
@as_of_option
@config_option
@output_options
def search(
    words: tuple[str, ...],
    image: Path | None,
    vector: str | None,
    as_of: str | None,
    config: Path | None,
    output: Output,
    **rest: Any,
) -> None:
    """Find the items nearest to a text, an image, a vector or an item.

    Words find texts, and images where the space's encoder reads words (open_clip).
    Items with the same content share a row: one is shown, the others are its copies. --where is
    an SQL expression over the columns of the view items, evaluated before the search, so that
    k items come back if there are as many.

    In a space of words (--space NAME_vocabulary) the answer is words: those nearest to one word,
    or to a sum with signs between spaces. There --where is over the view vocabulary.

    With --file the hits of all queries are one table, in which the column query names the one that
    a row answers. What cannot be looked for is named on stderr, the others are answered.

    Exit status: 0 done; 1 nothing was answered; 3 some queries of --file were not answered.
    """
    many: Path | None = rest.pop("many")
    sheet: Path | None = rest.pop("sheet")
    given = (words, image, vector, rest["item"], many)
    if sum(bool(one) for one in given) != 1:
        raise click.UsageError("give either words, --image, --vector, --item or --file.")
    if many and sheet:
        raise click.UsageError("--sheet draws what one query finds: not with --file.")

    from data.lake import Lake
    from data.maintenance.asof import resolve_snapshot
    from data.query_vectors import read_query_vector
    from latentlake.cli.file_search import PARTLY, search_file
    from latentlake.settings import load_settings
    from tasks.stages.searching import SearchQuery
    from tasks.stages.searching import search as find

    settings = load_settings(config)
    lake = Lake(settings.root)
    snapshot = resolve_snapshot(lake, as_of) if as_of else None
    if many is not None:
        asked = {name: rest[name] for name in ("space", "k", "where")}
        unindexed, is_whole = search_file(lake, settings, many, output, snapshot, **asked)
        _tell_unindexed(unindexed)
        click.get_current_context().exit(0 if is_whole else PARTLY)
    query = SearchQuery(
        text=" ".join(words) if words else None,
        image=image.read_bytes() if image else None,
        vector=None if vector is None else read_query_vector(vector),
        **rest,
    )
    found = find(lake, settings, query, snapshot)
    json_columns = {"metadata"} & set(found.hits.column_names)
    result = Result.of(found.hits, json_columns=json_columns, shown=_shown(found))
    output.write(_with_pictures(result, sheet, config, as_of))
    _tell_unindexed(found.unindexed)


def _with_pictures(
    result: Result, sheet: Path | None, config: Path | None, as_of: str | None
) -> Result:
    if sheet is None:
        return result
    from latentlake.cli.reading import reading

    with reading(config, as_of) as lake:
        return with_sheet(lake, result, sheet, hit_strip)


def _tell_unindexed(count: int) -> None:
    if count:
        newer = "1 item is" if count == 1 else f"{count:,} items are"
        click.echo(f"latentlake: {newer} newer than the index: run 'latentlake index'.", err=True)


def _shown(found: SearchResult) -> tuple[str, ...]:
    """Return the columns of the table: texts show their beginning, images their size, words all."""
    hits = found.hits
    if "word" in hits.column_names:
        return ("rank", "similarity", "word", "count", "frequency_rank")
    filled = [
        name for name in ("excerpt", "width", "height") if hits[name].null_count < hits.num_rows
    ]
    # A vector says nothing to the eye: what was known beside it does.
    extra = filled or (["metadata"] if set(hits["metadata"].to_pylist()) - {"{}"} else [])
    copies = ("copies",) if any(hits["copies"].to_pylist()) else ()
    return ("rank", "similarity", "source", "uri", *copies, *extra)
