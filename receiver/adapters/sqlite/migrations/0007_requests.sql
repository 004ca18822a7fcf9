-- What people asked the receiver to do, from the command line or the pages, and what came of it.
CREATE TABLE requests (
  id          INTEGER PRIMARY KEY,
  at          REAL NOT NULL,
  who         TEXT NOT NULL,              -- as they said, and where: "ann (page)"
  action      TEXT NOT NULL,
  environment TEXT NOT NULL,              -- empty: of all
  model       TEXT NOT NULL,              -- empty: of the whole environment
  result      TEXT NOT NULL
) STRICT;
CREATE INDEX requests_by_slot ON requests(environment, model, id);
