-- The pages list the last deployments of all slots, and a month of each: neither may read the whole journal.
CREATE INDEX deployments_by_recency ON deployments(coalesce(repeated_at, started_at), id) WHERE repeat_of IS NULL;
CREATE INDEX deployments_by_start ON deployments(started_at, environment, model, state, to_version, cause)
  WHERE repeat_of IS NULL;
