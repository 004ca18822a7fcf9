"""Labels, the recorded answers that they are about, and what follows from both: one SQLite file beside the logs.

It is apart from the receiver's state file: a million labels must not keep a deployment waiting.
"""

import json
import logging
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple
from itertools import islice
from pathlib import Path
from typing import Any

from ml.live.labels import (
    Counts,
    Decision,
    Label,
    Labelled,
    LabelsUnusable,
    Realised,
    Received,
    RecordedAnswer,
    Waiting,
)

log = logging.getLogger(__name__)

FILE = "labels.db"
KEEP_UNKNOWN_SECONDS = 30 * 86_400.0  # labels may come before the answer was collected, and for other machines
MOST_LABELS = 500_000  # per model; the oldest go
REALISED_COLUMNS = 10  # of Realised, that stand in its table
BATCH = 5_000  # rows per transaction
BUSY_SECONDS = 30.0

SCHEMA = """
DROP TABLE IF EXISTS answers;          -- of an earlier schema; both are made anew of the labels
DROP TABLE IF EXISTS decisions;
CREATE TABLE IF NOT EXISTS labels (
  model TEXT NOT NULL, request_id TEXT NOT NULL, row INTEGER NOT NULL,
  label TEXT NOT NULL, given_at REAL NOT NULL,
  joined INTEGER NOT NULL DEFAULT 0,  -- 0: not held against the log yet, 1: no answer found so far, 2: found
  PRIMARY KEY (model, request_id, row)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS labels_by_state ON labels(joined, model);
CREATE INDEX IF NOT EXISTS labels_by_age ON labels(model, given_at);
CREATE TABLE IF NOT EXISTS answers (
  model TEXT NOT NULL, request_id TEXT NOT NULL, row INTEGER NOT NULL,
  environment TEXT NOT NULL, version INTEGER NOT NULL, answered_at REAL NOT NULL,
  answer TEXT NOT NULL,               -- JSON
  classes INTEGER NOT NULL,           -- how many have a probability
  again INTEGER NOT NULL DEFAULT 0,   -- the row was asked several times under this id
  PRIMARY KEY (model, request_id, row, environment, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS joins (model TEXT PRIMARY KEY, at REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS received (model TEXT PRIMARY KEY, replaced INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS decisions (  -- what labels say of a version against a limit
  environment TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, metric TEXT NOT NULL,
  least REAL NOT NULL, outcome TEXT NOT NULL, more INTEGER, says TEXT NOT NULL,
  turn INTEGER NOT NULL DEFAULT 1,    -- how often the outcome changed
  void INTEGER NOT NULL DEFAULT 0,    -- labels that it counted were replaced
  PRIMARY KEY (environment, model, version, metric)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gates (      -- what the gate measured of the same version
  environment TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, metric TEXT NOT NULL, value REAL,
  PRIMARY KEY (environment, model, version, metric)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commented (  -- the figures published last on the version's pull request
  environment TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, lines TEXT NOT NULL, at REAL NOT NULL,
  PRIMARY KEY (environment, model, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS realised (
  environment TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL, metric TEXT NOT NULL,
  value REAL, low REAL, high REAL, labels INTEGER NOT NULL, unfit INTEGER NOT NULL, problem TEXT NOT NULL,
  PRIMARY KEY (environment, model, version, metric)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (    -- how often a model's joined or given labels changed, and what was judged
  model TEXT PRIMARY KEY, seen INTEGER NOT NULL, judged INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO changes SELECT DISTINCT model, 1, 0 FROM labels;
CREATE TABLE IF NOT EXISTS trimmed (    -- versions whose oldest joined labels are gone
  environment TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL,
  PRIMARY KEY (environment, model, version)
) STRICT, WITHOUT ROWID;
"""
SCHEMA_NUMBER = 1
NEW, UNKNOWN, JOINED = 0, 1, 2


class LabelStore:
    """The labels beside the logs in ``root``. Several processes may read and write."""

    def __init__(self, root: Path) -> None:
        self.file = root / FILE

    def add(self, model: str, labels: Iterable[Label]) -> Received:
        """Keep labels. One that is there already is nothing new; a different one for the same row replaces it."""
        total, left = Received(), iter(labels)
        while batch := list(islice(left, BATCH)):
            with self._writing() as db:
                total += _add(db, model, batch)
        return total

    def pending(self, model: str) -> tuple[Sequence[str], Sequence[str]]:
        """The request ids of new labels, and of those whose answer was not found so far."""
        query = "SELECT DISTINCT request_id FROM labels WHERE model = ? AND joined = ?"
        new, unknown = ([row[0] for row in self._all(query, model, state)] for state in (NEW, UNKNOWN))
        return new, unknown

    def waiting(self) -> Waiting:
        """Whether any model has labels to judge, or such whose answer was not found so far."""
        found = self._all(
            "SELECT EXISTS (SELECT 1 FROM labels WHERE joined = 0) OR EXISTS"
            " (SELECT 1 FROM changes WHERE seen <> judged), EXISTS (SELECT 1 FROM labels WHERE joined = 1)"
        )
        return Waiting(*map(bool, found[0])) if found else Waiting(changed=False, unknown=False)

    def changes(self) -> Mapping[str, tuple[int, int]]:
        """How often the labels of each model changed, and after how many changes they were judged."""
        return {model: (seen, judged) for model, seen, judged in self._all("SELECT * FROM changes")}

    def note_judged(self, model: str, seen: int) -> None:
        """Record that the labels were judged as they were after so many changes."""
        with self._writing() as db:
            db.execute("UPDATE changes SET judged = ? WHERE model = ?", (seen, model))

    def joined_at(self, model: str) -> float:
        """When the labels were last held against the log; 0: never."""
        found = self._all("SELECT at FROM joins WHERE model = ?", model)
        return float(found[0][0]) if found else 0.0

    def join(self, model: str, answers: Iterable[RecordedAnswer], new: Sequence[str], at: float) -> None:
        """Keep the answers that labels are about; labels of the requests ``new`` without one are unknown so far.

        ``at``: when that began.
        """
        left = iter(answers)
        while batch := list(islice(left, BATCH)):
            with self._writing() as db:
                db.executemany(
                    "INSERT INTO answers SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0"
                    " WHERE EXISTS (SELECT 1 FROM labels WHERE model = ?1 AND request_id = ?2 AND row = ?3)"
                    " ON CONFLICT DO UPDATE SET again = 1 WHERE answered_at <> excluded.answered_at",
                    [(model, *astuple(answer)) for answer in batch],
                )
                db.executemany(
                    "UPDATE labels SET joined = 2 WHERE model = ? AND request_id = ? AND row = ?",
                    [(model, answer.request_id, answer.row) for answer in batch],
                )
                _note_change(db, model)
        with self._writing() as db:
            db.executemany(
                "UPDATE labels SET joined = 1 WHERE model = ? AND request_id = ? AND joined = 0",
                [(model, request_id) for request_id in new],
            )
            db.execute("INSERT OR REPLACE INTO joins VALUES (?, ?)", (model, at))

    def trim(self, model: str, most: int = MOST_LABELS) -> None:
        """Remove what was unknown for too long, and of too many labels the oldest, with their answers.

        Those without an answer go first.
        """
        with self._writing() as db:
            db.execute(
                "DELETE FROM labels WHERE model = ? AND joined = 1 AND given_at < ?",
                (model, time.time() - KEEP_UNKNOWN_SECONDS),
            )
            too_many = db.execute("SELECT count(*) - ? FROM labels WHERE model = ?", (most, model)).fetchone()[0]
            if too_many > 0:
                oldest = "SELECT request_id, row FROM labels WHERE model = ? ORDER BY joined = 2, given_at LIMIT ?"
                gone = [(model, *row) for row in db.execute(oldest, (model, too_many)).fetchall()]
                db.executemany(
                    "INSERT OR IGNORE INTO trimmed SELECT environment, model, version FROM answers"
                    " WHERE model = ? AND request_id = ? AND row = ?",
                    gone,
                )
                for table in ("labels", "answers"):
                    db.executemany(
                        f"DELETE FROM {table} WHERE model = ? AND request_id = ? AND row = ?",  # noqa: S608 - ours
                        gone,
                    )

    def labelled(self, model: str) -> Sequence[Labelled]:
        """The labelled answers of all versions, in the order of environments and versions."""
        rows = self._all(
            "SELECT environment, version, classes, again, answer, label, count(*) FROM answers JOIN labels"
            " USING (model, request_id, row) WHERE model = ? GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6",
            model,
        )
        return [
            Labelled(environment, version, classes, bool(again), json.loads(answer), *more)
            for environment, version, classes, again, answer, *more in rows
        ]

    def labels(self, model: str) -> Mapping[tuple[str, int], str]:
        """All labels of a model, by request id and row."""
        rows = self._all("SELECT request_id, row, label FROM labels WHERE model = ?", model)
        return {(request_id, row): label for request_id, row, label in rows}

    def publish(self, model: str, found: Sequence[Realised]) -> None:
        """Record realised metrics in place of those of the same versions. Those without labels left stay."""
        with self._writing() as db:
            versions = {(each.environment, model, each.version) for each in found}
            db.executemany("DELETE FROM realised WHERE environment = ? AND model = ? AND version = ?", versions)
            db.executemany(
                "INSERT INTO realised VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [astuple(each)[:REALISED_COLUMNS] for each in found],
            )

    def decide(self, decision: Decision) -> None:
        """Record a decision. FAIL stays for its limit, and PASS until FAIL, unless labels it counted are replaced."""
        with self._writing() as db:
            db.execute(
                "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, 0) ON CONFLICT DO UPDATE SET"
                " least = excluded.least, outcome = excluded.outcome, more = excluded.more, says = excluded.says,"
                " turn = turn + (outcome <> excluded.outcome), void = 0"
                " WHERE void OR least <> excluded.least OR outcome = 'INCONCLUSIVE'"
                " OR outcome = 'PASS' AND excluded.outcome = 'FAIL'",
                astuple(decision)[:-1],
            )

    def trimmed(self) -> Collection[tuple[str, str, int]]:
        """Environment, model and version where the oldest labels are gone."""
        return set(self._all("SELECT * FROM trimmed"))

    def decisions(self) -> Sequence[Decision]:
        """What was decided, and what is open still."""
        columns = "environment, model, version, metric, least, outcome, more, says, turn"
        rows = self._all(f"SELECT {columns} FROM decisions ORDER BY 1, 2, 3")  # noqa: S608 - ours
        return [Decision(*row) for row in rows]

    def commented(self) -> Mapping[tuple[str, str, int], tuple[Sequence[str], float]]:
        """The figures of each version that were published last, and when; seconds since the epoch."""
        return {(*row[:3],): (json.loads(row[3]), row[4]) for row in self._all("SELECT * FROM commented")}

    def note_comment(self, of: tuple[str, str, int], lines: Sequence[str]) -> None:
        """Record the figures that are published of a version."""
        with self._writing() as db:
            db.execute(
                "INSERT OR REPLACE INTO commented VALUES (?, ?, ?, ?, ?)", (*of, json.dumps(lines), time.time())
            )

    def note_gate(self, slot: tuple[str, str], version: int, metrics: Mapping[str, float | None]) -> None:
        """Record what the gate measured of a version; None: it did not."""
        with self._writing() as db:
            rows = [(*slot, version, name, value) for name, value in metrics.items()]
            db.executemany("INSERT OR REPLACE INTO gates VALUES (?, ?, ?, ?, ?)", rows)

    def without_gate(self) -> Sequence[tuple[str, str, int, Sequence[str]]]:
        """Environment, model, version and metrics of what has labels, where the gate's figures are not recorded."""
        rows = self._all(
            "SELECT environment, model, version, group_concat(metric) FROM realised"
            " LEFT JOIN gates USING (environment, model, version, metric)"
            " WHERE gates.environment IS NULL GROUP BY 1, 2, 3"
        )
        return [(*row[:3], row[3].split(",")) for row in rows]

    def realised(self, model: str | None = None) -> Sequence[Realised]:
        """The realised metrics, of one model or of all; newest version first."""
        rows = self._shown(
            "SELECT environment, model, version, metric, realised.value, low, high, labels, unfit, problem,"
            " gates.value, least, outcome, more FROM realised"
            " LEFT JOIN gates USING (environment, model, version, metric)"
            " LEFT JOIN decisions USING (environment, model, version, metric)"
            " WHERE ?1 IS NULL OR model = ?1 ORDER BY environment, model, version DESC, metric",
            model,
        )
        return [Realised(*row) for row in rows]

    def counts(self) -> Mapping[str, Counts]:
        """How many labels each model has."""
        rows = self._shown(  # the inner query is answered by an index alone, for this is asked at every scrape
            "SELECT model, sum(n * (joined = 2)), sum(n * (joined <> 2)), coalesce(max(replaced), 0)"
            " FROM (SELECT joined, model, count(*) AS n FROM labels GROUP BY joined, model)"
            " LEFT JOIN received USING (model) GROUP BY model"
        )
        return {row[0]: Counts(*row) for row in rows}

    def _all(self, query: str, *values: Any) -> list[Any]:
        if not self.file.exists():
            return []
        with self._errors(), closing(_connect(self.file)) as db:
            return db.execute(query, values).fetchall()

    def _shown(self, query: str, *values: Any) -> list[Any]:
        """As ``_all``; a damaged file must not take the rest of a status with it."""
        try:
            return self._all(query, *values)
        except LabelsUnusable as error:
            log.warning("%s", error)
            return []

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LabelsUnusable(f"{self.file}: the labels cannot be read or written: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._errors(), closing(_connect(self.file)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


def _connect(file: Path) -> sqlite3.Connection:
    fresh = not file.exists()
    if fresh:
        file.touch(mode=0o600)
    db = sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)
    if db.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_NUMBER:
        db.execute("PRAGMA journal_mode=WAL")
        anew = f"UPDATE labels SET joined = 0; PRAGMA user_version = {SCHEMA_NUMBER};"  # noqa: S608 - ours
        db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {anew} COMMIT;")
    return db


def _add(db: sqlite3.Connection, model: str, batch: Sequence[Label]) -> Received:
    now, seen = time.time(), Received()
    for label in batch:
        key = (model, label.request_id, label.row)
        known = db.execute("SELECT label FROM labels WHERE model = ? AND request_id = ? AND row = ?", key).fetchone()
        if known is None:
            db.execute("INSERT INTO labels VALUES (?, ?, ?, ?, ?, 0)", (*key, label.label, now))
            seen += Received(new=1)
        elif known[0] == label.label:
            seen += Received(same=1)
        else:
            db.execute(
                "UPDATE labels SET label = ? WHERE model = ? AND request_id = ? AND row = ?", (label.label, *key)
            )
            db.execute(
                "UPDATE decisions SET void = 1 WHERE model = ?1 AND (environment, version) IN"
                " (SELECT environment, version FROM answers WHERE model = ?1 AND request_id = ?2 AND row = ?3)",
                key,
            )
            seen += Received(replaced=1)
    db.execute(
        "INSERT INTO received VALUES (?1, ?2) ON CONFLICT (model) DO UPDATE SET replaced = replaced + ?2",
        (model, seen.replaced),
    )
    if seen.new or seen.replaced:
        _note_change(db, model)
    return seen


def _note_change(db: sqlite3.Connection, model: str) -> None:
    db.execute("INSERT INTO changes VALUES (?, 1, 0) ON CONFLICT DO UPDATE SET seen = seen + 1", (model,))
