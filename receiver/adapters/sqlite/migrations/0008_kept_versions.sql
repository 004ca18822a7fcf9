-- When the files of versions that a slot may go back to were last verified on this machine, byte by byte.
CREATE TABLE kept_versions (
  model       TEXT NOT NULL,
  version     INTEGER NOT NULL,
  digest      TEXT NOT NULL,
  at          REAL NOT NULL,
  problem     TEXT NOT NULL,              -- why they are not here; empty: they are
  PRIMARY KEY (model, version, digest)
) STRICT;

-- How ready each slot is to go back, as of the last check; replaced whole.
CREATE TABLE ways_back (
  environment   TEXT NOT NULL,
  model         TEXT NOT NULL,
  version       INTEGER NOT NULL,
  ready         INTEGER NOT NULL,
  verified      TEXT,
  start_seconds REAL,
  problem       TEXT NOT NULL,
  PRIMARY KEY (environment, model)
) STRICT;
