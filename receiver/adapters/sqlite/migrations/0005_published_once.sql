-- What is said once, whatever is found how often afterwards, such as that labels say a version is worse than allowed.
CREATE TABLE published_once (
  key         TEXT PRIMARY KEY,
  at          REAL NOT NULL
) STRICT;
