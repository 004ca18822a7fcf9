-- Of an entry's repetitions the last 20 are kept; their number stays. The index finds those of one entry.
CREATE INDEX deployments_by_repeated ON deployments(repeat_of, id) WHERE repeat_of IS NOT NULL;
DELETE FROM deployments WHERE id IN (
  SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY repeat_of ORDER BY id DESC) AS age
    FROM deployments WHERE repeat_of IS NOT NULL
  ) WHERE age > 20
);
DELETE FROM steps WHERE deployment NOT IN (SELECT id FROM deployments);
