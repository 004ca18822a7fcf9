-- A state file as commit 45576ac wrote it, before schema versions: made by its Journal, Queue, Inbox and Outbox.
BEGIN TRANSACTION;
CREATE TABLE deliveries (
  id          TEXT PRIMARY KEY,           -- X-GitHub-Delivery, or the other senders' equivalent
  sender      TEXT NOT NULL,              -- github | mlflow
  event       TEXT NOT NULL,
  received_at REAL NOT NULL,
  body        BLOB NOT NULL,              -- the raw bytes that were signed
  verdict     TEXT NOT NULL,              -- accepted | ignored
  note        TEXT NOT NULL,              -- why, for a person
  job         INTEGER REFERENCES jobs(id)
) STRICT;
INSERT INTO "deliveries" VALUES('d-1','github','push',1.79567998697862076752e+09,X'7B22726566223A22726566732F68656164732F6D61696E227D','accepted','push to main',1);
INSERT INTO "deliveries" VALUES('d-2','github','push',1.79567998698811817168e+09,X'00FF2062696E617279','ignored','push to another branch',NULL);
INSERT INTO "deliveries" VALUES('d-3','mlflow','model_version.created',1.79567998698915123941e+09,X'7B7D','accepted','a new version of churn-model',2);
INSERT INTO "deliveries" VALUES('d-4','github','push',1.79567998699172472957e+09,X'7B22726566223A22726566732F68656164732F6D61696E227D','accepted','push to main',2);
CREATE TABLE deployments (
  id           INTEGER PRIMARY KEY,
  environment  TEXT NOT NULL,
  model        TEXT NOT NULL,
  from_version INTEGER,                   -- last verified before this one
  to_version   INTEGER,                   -- NULL: the pin was removed
  digest       TEXT,
  revision     TEXT NOT NULL,             -- commit
  cause        TEXT NOT NULL,
  override     TEXT,                      -- the reason given beside the pin, where gate and soak were waived
  plan         TEXT NOT NULL,             -- JSON list of actions
  state        TEXT NOT NULL,             -- running, or an outcome
  reason       TEXT NOT NULL DEFAULT '',
  started_at   REAL NOT NULL,
  ended_at     REAL
) STRICT;
INSERT INTO "deployments" VALUES(1,'staging','churn-model',NULL,5,'sha256:55555555','a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1','push',NULL,'[{"kind": "start", "subject": "v5", "before": null, "after": "candidate"}, {"kind": "alias", "subject": "staging", "before": null, "after": "v5"}, {"kind": "switch", "subject": "v5", "before": "candidate", "after": "live"}]','live','',1.79567998698042464254e+09,1.79567998698159646993e+09);
INSERT INTO "deployments" VALUES(2,'production','churn-model',NULL,5,'sha256:55555555','a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1','push','first version; ünïcode and ''quotes''','[{"kind": "start", "subject": "v5", "before": null, "after": "candidate"}, {"kind": "alias", "subject": "production", "before": null, "after": "v5"}, {"kind": "switch", "subject": "v5", "before": "candidate", "after": "live"}]','live','',1.79567998698174858098e+09,1.79567998698295259478e+09);
INSERT INTO "deployments" VALUES(3,'staging','churn-model',5,6,'sha256:66666666','b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2','push',NULL,'[{"kind": "start", "subject": "v6", "before": null, "after": "candidate"}, {"kind": "alias", "subject": "staging", "before": "v5", "after": "v6"}, {"kind": "switch", "subject": "v6", "before": "candidate", "after": "live"}]','rolled-back','the server ended
MemoryError: out of memory',1.79567998698310256006e+09,1.79567998698423099521e+09);
INSERT INTO "deployments" VALUES(4,'production','churn-model',5,6,NULL,'b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2','push',NULL,'[]','waiting','soak: 12 min of 30 min in staging',1.79567998698511433605e+09,1.79567998698511433605e+09);
INSERT INTO "deployments" VALUES(5,'production','churn-model',5,7,NULL,'b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2','timer',NULL,'[]','refused','no evidence for v7',1.79567998698535394664e+09,1.79567998698535394664e+09);
INSERT INTO "deployments" VALUES(6,'staging','churn-model',5,7,'sha256:77777777','b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2','drift',NULL,'[{"kind": "start", "subject": "v7", "before": null, "after": "candidate"}, {"kind": "alias", "subject": "staging", "before": "v5", "after": "v7"}, {"kind": "switch", "subject": "v7", "before": "candidate", "after": "live"}]','running','',1.79567998699085831643e+09,NULL);
CREATE TABLE jobs (
  id          INTEGER PRIMARY KEY,
  state       TEXT NOT NULL CHECK (state IN ('queued','leased','retry','done','dead','superseded')),
  cause       TEXT NOT NULL,              -- push | timer | startup | retry | ...; several joined by commas
  queued_at   REAL NOT NULL,
  not_before  REAL NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 0, -- how often it was begun
  crashes     INTEGER NOT NULL DEFAULT 0, -- how often the receiver died at it
  ended_at    REAL,
  note        TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO "jobs" VALUES(1,'done','push',1.79567998697840404504e+09,1.79567998697840404504e+09,1,0,1.79567998698015522957e+09,'staging/churn-model: live');
INSERT INTO "jobs" VALUES(2,'leased','push,timer',1.79567998698903369902e+09,1.79567998699158525464e+09,2,0,NULL,'the registry does not answer');
INSERT INTO "jobs" VALUES(3,'queued','timer',1.79567998699284863467e+09,1.79567998699284863467e+09,0,0,NULL,'');
CREATE TABLE outbox (
  id          INTEGER PRIMARY KEY,
  channel     TEXT NOT NULL,              -- notify | github, or one destination of it: notify/<name>
  body        TEXT NOT NULL,              -- JSON
  created_at  REAL NOT NULL,
  not_before  REAL NOT NULL,
  attempts    INTEGER NOT NULL DEFAULT 0,
  sent_at     REAL,
  given_up_at REAL,                       -- will not be tried again; error says why
  error       TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO "outbox" VALUES(1,'github','{"kind": "revert", "environment": "staging", "version": 6}',1.79567998698443698885e+09,1.79567998698443698885e+09,1,1.79567998698641276356e+09,NULL,'');
INSERT INTO "outbox" VALUES(2,'github','{"kind": "status", "state": "failure"}',1.79567998698573803905e+09,1.79567999198660039903e+09,1,NULL,NULL,'Retryable: 502 from GitHub');
INSERT INTO "outbox" VALUES(3,'github','{"kind": "status", "state": "pending"}',1.79567998698597025867e+09,1.79567998698597025867e+09,0,NULL,NULL,'');
INSERT INTO "outbox" VALUES(5,'notify/ops','{"text": "staging/churn-model v6 was rolled back"}',1.79567998698617029189e+09,1.79567999198725461963e+09,1,NULL,1.79567998698725461966e+09,'Rejected: 410: the hook is gone');
INSERT INTO "outbox" VALUES(6,'notify','{"text": "staging/churn-model v5 is live again"}',1.79567998698749780651e+09,1.79567998698749780651e+09,0,NULL,NULL,'');
CREATE TABLE quarantine (
  environment TEXT NOT NULL,
  model       TEXT NOT NULL,
  version     INTEGER NOT NULL,
  revision    TEXT NOT NULL,              -- a new commit is a new chance
  reason      TEXT NOT NULL,
  needs_human INTEGER NOT NULL DEFAULT 0, -- putting back failed too: hold everything of this slot
  since       REAL NOT NULL,
  PRIMARY KEY (environment, model, version, revision)
) STRICT;
INSERT INTO "quarantine" VALUES('staging','churn-model',6,'b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2','the server ended
MemoryError: out of memory',0,1764000000.5);
INSERT INTO "quarantine" VALUES('production','churn-model',4,'a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1','neither v4 nor v3 could be reached',1,1763000000.0);
CREATE TABLE steps (
  deployment  INTEGER NOT NULL REFERENCES deployments(id),
  seq         INTEGER NOT NULL,
  action      TEXT NOT NULL,              -- JSON, with before and after
  started_at  REAL NOT NULL,              -- intent: committed before acting
  ended_at    REAL,                       -- result: committed after acting
  result      TEXT,                       -- done | the error
  PRIMARY KEY (deployment, seq)
) STRICT;
INSERT INTO "steps" VALUES(1,0,'{"kind": "start", "subject": "v5", "before": null, "after": "candidate"}',1.79567998698076248167e+09,1.79567998698093533515e+09,'done');
INSERT INTO "steps" VALUES(1,1,'{"kind": "alias", "subject": "staging", "before": null, "after": "v5"}',1.79567998698110127446e+09,1.79567998698125052452e+09,'done');
INSERT INTO "steps" VALUES(1,2,'{"kind": "switch", "subject": "v5", "before": "candidate", "after": "live"}',1.79567998698137283328e+09,1.79567998698149061198e+09,'done');
INSERT INTO "steps" VALUES(2,0,'{"kind": "start", "subject": "v5", "before": null, "after": "candidate"}',1.79567998698198127744e+09,1.79567998698219275476e+09,'done');
INSERT INTO "steps" VALUES(2,1,'{"kind": "alias", "subject": "production", "before": null, "after": "v5"}',1.79567998698235130306e+09,1.79567998698250484461e+09,'done');
INSERT INTO "steps" VALUES(2,2,'{"kind": "switch", "subject": "v5", "before": "candidate", "after": "live"}',1.79567998698265147211e+09,1.79567998698281311984e+09,'done');
INSERT INTO "steps" VALUES(3,0,'{"kind": "start", "subject": "v6", "before": null, "after": "candidate"}',1.79567998698331284523e+09,1.79567998698346757884e+09,'done');
INSERT INTO "steps" VALUES(3,1,'{"kind": "alias", "subject": "staging", "before": "v5", "after": "v6"}',1.79567998698361325259e+09,1.79567998698378467558e+09,'failed: the server ended
MemoryError: out of memory');
INSERT INTO "steps" VALUES(3,2,'{"kind": "switch", "subject": "v6", "before": "candidate", "after": "live"}',1.79567998698392963406e+09,1.79567998698408865928e+09,'failed: the server ended
MemoryError: out of memory');
INSERT INTO "steps" VALUES(6,0,'{"kind": "start", "subject": "v7", "before": null, "after": "candidate"}',1.79567998699111819262e+09,NULL,NULL);
CREATE TABLE told_pins (
  environment TEXT PRIMARY KEY,
  revision    TEXT NOT NULL,              -- the commit that was spoken of
  pins        TEXT NOT NULL,              -- a digest of them, or of what is wrong with them
  pending     TEXT NOT NULL               -- a digest of what they wait for; empty: nothing more is to be said
) STRICT;
INSERT INTO "told_pins" VALUES('staging','b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2','pins-digest','');
INSERT INTO "told_pins" VALUES('production','b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2','pins-digest-2','soak');
CREATE TABLE valid_pins (
  one         INTEGER PRIMARY KEY CHECK (one = 1),
  revision    TEXT NOT NULL,
  files       TEXT NOT NULL               -- JSON: path -> text
) STRICT;
INSERT INTO "valid_pins" VALUES(1,'a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1','{"environments/staging.yaml": "environment: staging\n"}');
CREATE INDEX deliveries_by_job ON deliveries(job);
CREATE INDEX deliveries_by_time ON deliveries(received_at);
CREATE UNIQUE INDEX one_waiting_job ON jobs((1)) WHERE state IN ('queued','retry');
CREATE UNIQUE INDEX one_leased_job ON jobs((1)) WHERE state = 'leased';
CREATE INDEX deployments_by_slot ON deployments(environment, model, id);
CREATE INDEX deployments_by_state ON deployments(state, environment, model, id);
CREATE INDEX outbox_unsent ON outbox(not_before) WHERE sent_at IS NULL AND given_up_at IS NULL;
COMMIT;
