-- Version 1. Times are seconds since the epoch (UTC). Nothing here says what is running: registry and servers are
-- asked that each time. IF NOT EXISTS, because files from before versions have some or all of these tables.
CREATE TABLE IF NOT EXISTS schema_history (
  version     INTEGER PRIMARY KEY,        -- PRAGMA user_version after this migration
  name        TEXT NOT NULL,
  pinrail     TEXT NOT NULL,              -- the release that applied it, which an older one names when it refuses
  applied_at  REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS deliveries (
  id          TEXT PRIMARY KEY,           -- X-GitHub-Delivery, or MLflow's equivalent
  sender      TEXT NOT NULL,              -- github | mlflow
  event       TEXT NOT NULL,
  received_at REAL NOT NULL,
  body        BLOB NOT NULL,              -- the raw bytes that were signed
  verdict     TEXT NOT NULL,              -- accepted | ignored
  note        TEXT NOT NULL,              -- why, in words
  job         INTEGER REFERENCES jobs(id)
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_by_job ON deliveries(job);
CREATE INDEX IF NOT EXISTS deliveries_by_time ON deliveries(received_at);

CREATE TABLE IF NOT EXISTS jobs (
  id          INTEGER PRIMARY KEY,
  state       TEXT NOT NULL CHECK (state IN ('queued','leased','retry','done','dead','superseded')),
  cause       TEXT NOT NULL,              -- push | timer | startup | retry | ...; joined by commas
  queued_at   REAL NOT NULL,
  not_before  REAL NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 0, -- started this many times
  crashes     INTEGER NOT NULL DEFAULT 0, -- the receiver died this many times while it ran
  ended_at    REAL,
  note        TEXT NOT NULL DEFAULT ''
) STRICT;
-- At most one job waits and one runs: a job reads the branch head, so one serves all pushes before it.
CREATE UNIQUE INDEX IF NOT EXISTS one_waiting_job ON jobs((1)) WHERE state IN ('queued','retry');
CREATE UNIQUE INDEX IF NOT EXISTS one_leased_job ON jobs((1)) WHERE state = 'leased';

CREATE TABLE IF NOT EXISTS deployments (
  id           INTEGER PRIMARY KEY,
  environment  TEXT NOT NULL,
  model        TEXT NOT NULL,
  from_version INTEGER,                   -- verified before this deployment
  to_version   INTEGER,                   -- NULL: the pin was removed
  digest       TEXT,
  revision     TEXT NOT NULL,             -- commit
  cause        TEXT NOT NULL,
  override     TEXT,                      -- the override's reason: gate and soak were waived
  plan         TEXT NOT NULL,             -- JSON list of actions
  state        TEXT NOT NULL,             -- running, or an outcome
  reason       TEXT NOT NULL DEFAULT '',
  started_at   REAL NOT NULL,
  ended_at     REAL
) STRICT;
CREATE INDEX IF NOT EXISTS deployments_by_slot ON deployments(environment, model, id);
CREATE INDEX IF NOT EXISTS deployments_by_state ON deployments(state, environment, model, id);

CREATE TABLE IF NOT EXISTS steps (
  deployment  INTEGER NOT NULL REFERENCES deployments(id),
  seq         INTEGER NOT NULL,
  action      TEXT NOT NULL,              -- JSON, with before and after
  started_at  REAL NOT NULL,              -- intent: committed before acting
  ended_at    REAL,                       -- result: committed after acting
  result      TEXT,                       -- done | the error
  PRIMARY KEY (deployment, seq)
) STRICT;

CREATE TABLE IF NOT EXISTS quarantine (
  environment TEXT NOT NULL,
  model       TEXT NOT NULL,
  version     INTEGER NOT NULL,
  revision    TEXT NOT NULL,              -- the commit that pinned it
  reason      TEXT NOT NULL,
  needs_human INTEGER NOT NULL DEFAULT 0, -- the rollback failed too: the whole slot is held
  since       REAL NOT NULL,
  PRIMARY KEY (environment, model, version, revision)
) STRICT;

-- The last valid pins: while those at the branch head are invalid, healing uses these.
CREATE TABLE IF NOT EXISTS valid_pins (
  one         INTEGER PRIMARY KEY CHECK (one = 1),
  revision    TEXT NOT NULL,
  files       TEXT NOT NULL               -- JSON: path -> text
) STRICT;

-- The commit status published last per environment, so that each commit which changes its pins gets one.
CREATE TABLE IF NOT EXISTS told_pins (
  environment TEXT PRIMARY KEY,
  revision    TEXT NOT NULL,              -- the commit with that status
  pins        TEXT NOT NULL,              -- a digest of them, or of what is wrong with them
  pending     TEXT NOT NULL               -- a digest of what they wait for; empty: the status is final
) STRICT;

CREATE TABLE IF NOT EXISTS outbox (
  id          INTEGER PRIMARY KEY,
  channel     TEXT NOT NULL,              -- notify | github, or one destination of it: notify/<name>
  body        TEXT NOT NULL,              -- JSON
  created_at  REAL NOT NULL,
  not_before  REAL NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 0,
  sent_at     REAL,
  given_up_at REAL,                       -- not tried again; error says why
  error       TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_unsent ON outbox(not_before) WHERE sent_at IS NULL AND given_up_at IS NULL;
