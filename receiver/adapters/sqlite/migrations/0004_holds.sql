-- A quarantine holds a version for as long as the slot is pinned as it was then, whatever commit is the head. It is
-- released, not deleted, when the pin changes: environments that follow ask what became of a version here.
CREATE TABLE held_versions (
  id          INTEGER PRIMARY KEY,
  environment TEXT NOT NULL,
  model       TEXT NOT NULL,
  version     INTEGER NOT NULL,
  revision    TEXT NOT NULL,              -- the commit that pinned it
  reason      TEXT NOT NULL,
  needs_human INTEGER NOT NULL DEFAULT 0, -- the rollback failed too: the whole slot is held
  since       REAL NOT NULL,
  terms       TEXT NOT NULL DEFAULT '',   -- a digest of the pin at that time; empty: not recorded
  manual      INTEGER NOT NULL DEFAULT 0, -- a person took it out
  released    INTEGER NOT NULL DEFAULT 0  -- the pin was changed since
) STRICT;
INSERT INTO held_versions (environment, model, version, revision, reason, needs_human, since)
  SELECT environment, model, version, revision, reason, needs_human, since FROM quarantine;
DROP TABLE quarantine;
ALTER TABLE held_versions RENAME TO quarantine;
CREATE INDEX quarantine_by_slot ON quarantine(environment, model, version);

-- Where a person lets nothing new be deployed. An empty model stands for every model of the environment.
CREATE TABLE freezes (
  environment TEXT NOT NULL,
  model       TEXT NOT NULL,
  reason      TEXT NOT NULL,
  since       REAL NOT NULL,
  PRIMARY KEY (environment, model)
) STRICT;

-- When the server that a restoration starts anew was last seen alive: uptime alone counts for a soak.
ALTER TABLE deployments ADD COLUMN down_since REAL;
