"""The queue in SQLite: at most one job waits and at most one runs.

Every job is the same job, "look at the branch head and make it so". One that has not begun therefore serves everybody
who asks meanwhile, and whoever asks while one runs gets one that begins later.
"""

import sqlite3
import threading
import time
from dataclasses import dataclass

from receiver.adapters.sqlite.database import Database
from receiver.core.redact import Redactor

MAX_CRASHES = 3
# The longest retry. A job that says it must wait longer has met a clock that jumped: it is due.
MAX_DELAY_SECONDS = 3600.0
# A timer's look may wait for a retry that is due later; whoever else asks has news.
PATIENT_CAUSES = frozenset({"timer"})
NOTE_CHARACTERS = 1000
KEEP_SECONDS = 7 * 86_400.0  # a timer alone makes 1,440 jobs a day

_WAITING = "state IN ('queued', 'retry')"


@dataclass(frozen=True, slots=True)
class Job:
    """A leased job. Whoever claimed it ends it with exactly one of done, retry and bury."""

    id: int
    causes: tuple[str, ...]  # of everybody who joined it, the first one first
    attempts: int  # how often it was begun, this time included
    crashes: int  # how often the receiver died at it

    @property
    def cause(self) -> str:
        """All causes as one text."""
        return ",".join(self.causes)


class Queue:
    """Methods that write have committed when they return. Retryable: the database cannot be written."""

    def __init__(self, database: Database, redact: Redactor | None = None) -> None:
        self._database = database
        self._redact = redact or Redactor()
        self._news = threading.Event()

    def enqueue(self, cause: str) -> int:
        """Ask for a look; returns the id of the job that will take it."""
        with self._database.transaction() as db:
            job = self.join(db, cause)
        self.wake()
        return job

    def join(self, db: sqlite3.Connection, cause: str) -> int:
        """Like :meth:`enqueue`, inside the caller's transaction; the caller calls :meth:`wake` after the commit."""
        now = time.time()
        waiting = db.execute(f"SELECT id, cause FROM jobs WHERE {_WAITING}").fetchone()  # noqa: S608 - a constant
        if waiting is None:
            return int(
                db.execute(
                    "INSERT INTO jobs (state, cause, queued_at, not_before) VALUES ('queued', ?, ?, ?) RETURNING id",
                    (cause, now, now),
                ).fetchone()[0]
            )
        causes = waiting["cause"].split(",")
        if cause not in causes:
            db.execute("UPDATE jobs SET cause = ? WHERE id = ?", (",".join((*causes, cause)), waiting["id"]))
        if cause not in PATIENT_CAUSES:
            db.execute(
                "UPDATE jobs SET state = 'queued', not_before = ? WHERE id = ? AND state = 'retry'",
                (now, waiting["id"]),
            )
        return int(waiting["id"])

    def claim(self) -> Job | None:
        """Lease the job that waits, if it is due and no other runs."""
        if self._seconds_until_due() > 0:  # a look without the write lock, which most calls need not take
            return None
        now = time.time()
        with self._database.transaction() as db:
            row = db.execute(
                "UPDATE jobs SET state = 'leased', attempts = attempts + 1"  # noqa: S608 - a constant
                f" WHERE {_WAITING} AND (not_before <= ? OR not_before > ?)"
                " AND NOT EXISTS (SELECT 1 FROM jobs WHERE state = 'leased')"
                " RETURNING id, cause, attempts, crashes",
                (now, now + MAX_DELAY_SECONDS),
            ).fetchone()
        return Job(row["id"], tuple(row["cause"].split(",")), row["attempts"], row["crashes"]) if row else None

    def done(self, job: Job, note: str = "") -> None:
        """The job was carried out; what came of it stands in the deployments."""
        self._end(job, "done", note)

    def bury(self, job: Job, note: str) -> None:
        """The job cannot be carried out, and trying again will not help."""
        self._end(job, "dead", note)

    def retry(self, job: Job, after_seconds: float, note: str) -> None:
        """Let the job wait and be tried again; where a newer one waits already, that one serves instead."""
        with self._database.transaction() as db:
            newer = db.execute(f"SELECT id FROM jobs WHERE {_WAITING}").fetchone()  # noqa: S608 - a constant
            if newer is not None:
                _finish(db, job, "superseded", f"job {newer['id']} takes over: {self._note(note)}")
            else:
                due = time.time() + min(max(after_seconds, 0.0), MAX_DELAY_SECONDS)
                _leave(db, job, "state = 'retry', not_before = ?, note = ?", (due, self._note(note)))

    def recover(self, max_crashes: int = MAX_CRASHES) -> Job | None:
        """At start: what a receiver that died had leased waits again; after ``max_crashes`` it is buried."""
        with self._database.transaction() as db:
            row = db.execute(
                "UPDATE jobs SET crashes = crashes + 1 WHERE state = 'leased' RETURNING id, cause, attempts, crashes"
            ).fetchone()
            if row is None:
                return None
            job = Job(row["id"], tuple(row["cause"].split(",")), row["attempts"], row["crashes"])
            newer = db.execute(f"SELECT id FROM jobs WHERE {_WAITING}").fetchone()  # noqa: S608 - a constant
            if job.crashes >= max_crashes:
                _finish(db, job, "dead", f"the receiver died {job.crashes} times while it worked on this")
            elif newer is not None:
                _finish(db, job, "superseded", f"job {newer['id']} takes over: the receiver died")
            else:
                note = f"queued again: the receiver died while it worked on this ({job.crashes} of {max_crashes})"
                _leave(db, job, "state = 'queued', not_before = ?, note = ?", (time.time(), note))
        return job

    def wait(self, seconds: float) -> None:
        """Return when there is news, a job is due or ``seconds`` (monotonic) have passed, whichever is first."""
        self._news.wait(max(0.0, min(seconds, self._seconds_until_due())))
        self._news.clear()

    def wake(self) -> None:
        """End a :meth:`wait`, also one that is about to begin."""
        self._news.set()

    def _seconds_until_due(self) -> float:
        row = self._database.connection().execute(
            "SELECT min(not_before) AS due, EXISTS (SELECT 1 FROM jobs WHERE state = 'leased') AS busy"  # noqa: S608
            f" FROM jobs WHERE {_WAITING}"
        ).fetchone()  # fmt: skip
        if row["due"] is None or row["busy"]:
            return threading.TIMEOUT_MAX
        left = float(row["due"]) - time.time()
        return left if 0 < left <= MAX_DELAY_SECONDS else 0.0

    def _end(self, job: Job, state: str, note: str) -> None:
        with self._database.transaction() as db:
            _finish(db, job, state, self._note(note))
            db.execute(
                "DELETE FROM jobs WHERE ended_at < ? AND NOT EXISTS (SELECT 1 FROM deliveries WHERE job = jobs.id)",
                (time.time() - KEEP_SECONDS,),
            )

    def _note(self, text: str) -> str:
        return self._redact.line(text)[:NOTE_CHARACTERS]


def _finish(db: sqlite3.Connection, job: Job, state: str, note: str) -> None:
    _leave(db, job, "state = ?, ended_at = ?, note = ?", (state, time.time(), note))


def _leave(db: sqlite3.Connection, job: Job, changes: str, values: tuple[object, ...]) -> None:
    changed = db.execute(
        f"UPDATE jobs SET {changes} WHERE id = ? AND state = 'leased'",  # noqa: S608 - constants of this module
        (*values, job.id),
    ).rowcount
    if changed != 1:
        raise RuntimeError(f"job {job.id} is not leased: it was ended twice, or never claimed")
