-- Views and macros over the tables' own views. Statements end with a semicolon and a new line.
CREATE VIEW items AS
SELECT * FROM all_items WHERE NOT deleted;

CREATE VIEW indexes AS
SELECT space, fingerprint, rows, seconds,
       details->>'factory' AS factory,
       details->>'search' AS search,
       (details->>'recall')::FLOAT AS recall,
       (details->>'recall_low')::FLOAT AS recall_low,
       (details->>'recall_high')::FLOAT AS recall_high,
       (details->'filtered'->>'mean')::FLOAT AS recall_filtered,
       (details->>'queries_per_second')::BIGINT AS queries_per_second,
       (details->>'vector_bytes')::FLOAT AS vector_bytes,
       details->>'path' AS path,
       details, run_id, recorded_at
FROM builds WHERE stage = 'index';

-- An item's place on disk is the source's own; these say what it is called inside the lake.
CREATE MACRO similarity(a, b) AS array_cosine_similarity(a, b);

-- An item's content; in a space of words also a word's. (Parameters hide columns of their names.)
CREATE MACRO content_of(item, in_space) AS coalesce(
    (SELECT any_value(content_id) FROM items WHERE item_id = item),
    (SELECT any_value(content_id) FROM vocabulary WHERE space = in_space AND word = item)
);

CREATE MACRO vector_of(item, in_space) AS (
    SELECT any_value(vector) FROM query_table('embeddings_' || in_space)
    WHERE content_id = content_of(item, in_space)
);

CREATE MACRO vector_given(query) AS coalesce(
    TRY_CAST(query AS FLOAT[]),
    CASE WHEN query IS NOT NULL THEN error('nearest: give the id of an item, or a vector of numbers') END
);

-- The exact scan. `latentlake sql` puts the search index behind the same name: see
-- tasks/stages/nearest.py. A vector without direction resembles nothing: its cosine is 0.
CREATE MACRO nearest(in_space, query, k := 10) AS TABLE
WITH asked AS (
    SELECT NULL::VARCHAR AS own, vector_given(query) AS wanted
    WHERE typeof(query) <> 'VARCHAR'
    UNION ALL
    SELECT content_of(query::VARCHAR, in_space),
           coalesce(vector_of(query::VARCHAR, in_space)::FLOAT[],
                    error('no item ''' || query::VARCHAR || ''' has a vector in space ''' || in_space || ''''))
    WHERE typeof(query) = 'VARCHAR'
),
scored AS (
    SELECT content_id,
           CASE (SELECT any_value(metric) FROM spaces WHERE space = in_space AND is_current)
               WHEN 'l2' THEN -pow(list_distance(vector::FLOAT[], wanted), 2)
               WHEN 'inner_product' THEN list_inner_product(vector::FLOAT[], wanted)
               ELSE coalesce(nullif(list_cosine_similarity(vector::FLOAT[], wanted), 'nan'::FLOAT), 0)
           END::FLOAT AS similarity
    FROM query_table('embeddings_' || in_space), asked
    WHERE wanted IS NOT NULL AND content_id IS DISTINCT FROM own
)
SELECT content_id, similarity FROM scored ORDER BY similarity DESC, content_id LIMIT k;

CREATE MACRO neighbours_of(item, in_space) AS TABLE
SELECT i.item_id, i.source, i.uri, n.similarity
FROM (SELECT unnest(neighbours) AS content_id, unnest(similarities) AS similarity
      FROM neighbours
      WHERE space = in_space
        AND content_id = (SELECT any_value(content_id) FROM items WHERE item_id = item)) n
JOIN items i USING (content_id)
ORDER BY n.similarity DESC, i.uri;
