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
       details->>'path' AS path,
       details, run_id, recorded_at
FROM builds WHERE stage = 'index';

-- An item's place on disk is the source's own; these say what it is called inside the lake.
CREATE MACRO similarity(a, b) AS array_cosine_similarity(a, b);

CREATE MACRO neighbours_of(item, in_space) AS TABLE
SELECT i.item_id, i.source, i.uri, n.similarity
FROM (SELECT unnest(neighbours) AS content_id, unnest(similarities) AS similarity
      FROM neighbours
      WHERE space = in_space
        AND content_id = (SELECT any_value(content_id) FROM items WHERE item_id = item)) n
JOIN items i USING (content_id)
ORDER BY n.similarity DESC, i.uri;
