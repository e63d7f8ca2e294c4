"""`latentlake duplicates`, `clusters`, `anomalies`: the reports, with names instead of hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from latentlake.cli.options import (
    as_of_option,
    config_option,
    examples,
    output_options,
    space_option,
)
from latentlake.cli.sheets import (
    anomaly_strip,
    cluster_strip,
    duplicate_strip,
    member_strip,
    sheet_option,
    with_sheet,
)
from latentlake.errors import QueryError

if TYPE_CHECKING:
    from pathlib import Path

    from latentlake.cli.output import Output
    from latentlake.cli.reading import Reading

KINDS = ("exact", "pixels", "normalised", "lexical", "perceptual", "semantic", "near")

DUPLICATES = """
SELECT d.space, removed.uri AS removed, kept.uri AS kept, d.kind, d.score, d.similarity,
       d.threshold, d.rule, removed.source, d.item_id, d.twin_id, d.group_id
FROM duplicates d
JOIN all_items removed ON removed.item_id = d.item_id
JOIN all_items kept ON kept.item_id = d.twin_id
WHERE ($1 IS NULL OR d.space = $1) AND ($2 IS NULL OR d.kind = $2)
ORDER BY d.space,
         CASE WHEN $4 THEN d.kind IN ('exact', 'pixels', 'normalised') END,
         CASE WHEN $4 THEN d.score - d.threshold END,
         d.score DESC, d.similarity DESC, kept.uri, removed.uri
LIMIT $3"""

SUMMARY = """
SELECT s.space, s.cluster_id, s.size, s.quality, min(i.uri) AS medoid, s.terms,
       arg_min(i.item_id, i.uri) AS medoid_id
FROM cluster_summary s LEFT JOIN items i ON i.content_id = s.medoid
WHERE $1 IS NULL OR s.space = $1
GROUP BY ALL
ORDER BY s.space, s.size DESC, s.cluster_id
LIMIT $2"""

MEMBERS = """
SELECT i.uri, c.distance, c.is_medoid, i.source, i.item_id, c.space, c.cluster_id
FROM clusters c JOIN items i USING (content_id)
WHERE c.space = $1 AND c.cluster_id = $2
ORDER BY c.distance, i.uri
LIMIT $3"""

ANOMALIES = """
WITH place AS (
    SELECT content_id, arg_min(item_id, uri) AS item_id, arg_min(source, uri) AS source,
           min(uri) AS uri, count(*) AS items
    FROM items GROUP BY content_id
),
neighbour AS (
    SELECT a.space, a.content_id, list(place.uri ORDER BY a.position) AS uris
    FROM (SELECT space, content_id, unnest(normal_neighbours) AS other,
                 generate_subscripts(normal_neighbours, 1) AS position FROM anomalies) a
    JOIN place ON place.content_id = a.other
    GROUP BY ALL
)
SELECT a.space, a.rank, place.uri, a.percentile, a.knn_distance, a.knn_percentile, a.mahalanobis,
       a.mahalanobis_percentile, coalesce(neighbour.uris, []) AS normal_neighbours,
       place.source, place.item_id, place.items
FROM anomalies a
JOIN place USING (content_id)
LEFT JOIN neighbour ON neighbour.space = a.space AND neighbour.content_id = a.content_id
WHERE $1 IS NULL OR a.space = $1
QUALIFY row_number() OVER (PARTITION BY a.space ORDER BY a.rank) <= $2
ORDER BY a.space, a.rank"""


@click.command(
    epilog=examples(
        "latentlake duplicates",
        "latentlake duplicates --space cnn --kind perceptual",
        "latentlake duplicates --space cnn --sheet duplicates.jpg",
        "latentlake duplicates --space cnn --least-sure --sheet doubtful.jpg",
        "latentlake duplicates --kind exact --format csv --output copies.csv",
        "latentlake duplicates --format json | jq -r '.[].removed'",
    )
)
@space_option
@click.option("--kind", type=click.Choice(KINDS), help="Only duplicates of this kind.")
@click.option(
    "--least-sure",
    is_flag=True,
    help="Those first that hardly reach their threshold: where a wrong one is soonest found.",
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="How many.  [default: all]")
@sheet_option
@as_of_option
@config_option
@output_options
def duplicates(
    space: str | None,
    as_of: str | None,
    config: Path | None,
    output: Output,
    sheet: Path | None,
    **wanted: Any,
) -> None:
    """List items that repeat another one, and which.

    Each row is an item that could be removed, the twin that would be kept, the score of the two,
    and the rule and threshold that decided. Nothing is ever deleted from your sources. --sheet
    draws what goes beside what stays.
    """
    from latentlake.cli.reading import reading

    with reading(config, as_of) as lake:
        name = lake.require_space(space)
        shown = ("removed", "kept", "kind", "score", "threshold", "rule")
        parameters = [name, wanted["kind"], wanted["limit"], wanted["least_sure"]]
        found = lake.query(DUPLICATES, parameters, shown=_with_space(name, shown))
        output.write(with_sheet(lake, found, sheet, duplicate_strip))


@click.command(
    epilog=examples(
        "latentlake clusters",
        "latentlake clusters --space words",
        "latentlake clusters --space words --id 3",
        "latentlake clusters --space cnn --sheet clusters.jpg",
    )
)
@space_option
@click.option(
    "--id", "cluster_id", metavar="N", type=click.IntRange(0), help="List this one's members."
)
@click.option("--limit", metavar="N", type=click.IntRange(1), help="How many.  [default: all]")
@sheet_option
@as_of_option
@config_option
@output_options
def clusters(
    space: str | None,
    cluster_id: int | None,
    as_of: str | None,
    config: Path | None,
    output: Output,
    **wanted: Any,
) -> None:
    """Summarise the groups of a space, or list one.

    The medoid is the member nearest to the centre. Quality is the mean simplified silhouette:
    near 1 the group stands apart, near 0 it runs into its neighbour. --sheet draws the medoids, or
    the members of one group.
    """
    from latentlake.cli.reading import reading

    with reading(config, as_of) as lake:
        if cluster_id is None:
            name = lake.require_space(space)
            shown = ("cluster_id", "size", "quality", "medoid", "terms")
            parameters = [name, wanted["limit"]]
            result = lake.query(SUMMARY, parameters, shown=_with_space(name, shown))
            strip = cluster_strip
        else:
            name = _only_space(lake, space)
            members = ("uri", "distance", "is_medoid", "source")
            parameters = [name, cluster_id, wanted["limit"]]
            result = lake.query(MEMBERS, parameters, shown=members)
            strip = member_strip
        output.write(with_sheet(lake, result, wanted["sheet"], strip))


@click.command(
    epilog=examples(
        "latentlake anomalies",
        "latentlake anomalies --space cnn -n 5",
        "latentlake anomalies --format parquet --output anomalies.parquet",
    )
)
@space_option
@click.option(
    "-n", "count", default=20, show_default=True, type=click.IntRange(1), help="How many a space."
)
@sheet_option
@as_of_option
@config_option
@output_options
def anomalies(
    space: str | None,
    count: int,
    sheet: Path | None,
    as_of: str | None,
    config: Path | None,
    output: Output,
) -> None:
    """List the items that are least like the others.

    Rank 1 is the oddest by the mean of two percentiles: the distance to the nearest neighbours,
    and the Mahalanobis distance to the whole. The nearest normal neighbours show what an item was
    held against.
    """
    from latentlake.cli.reading import reading

    with reading(config, as_of) as lake:
        name = lake.require_space(space)
        shown = ("rank", "uri", "percentile", "knn_percentile", "mahalanobis_percentile")
        columns = (*_with_space(name, shown), "normal_neighbours")
        found = lake.query(ANOMALIES, [name, count], shown=columns)
        output.write(with_sheet(lake, found, sheet, anomaly_strip))


def _with_space(name: str | None, shown: tuple[str, ...]) -> tuple[str, ...]:
    return shown if name else ("space", *shown)


def _only_space(lake: Reading, space: str | None) -> str:
    """Return the space that a cluster's number belongs to."""
    if space is not None:
        return lake.require_space(space) or space
    names = [row[0] for row in lake.rows("SELECT DISTINCT space FROM cluster_summary ORDER BY 1")]
    if len(names) != 1:
        listed = ", ".join(names) or "none yet"
        raise QueryError(
            f"a cluster's number needs its space: add --space; with clusters: {listed}."
        )
    return str(names[0])
