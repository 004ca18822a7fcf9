"""The job queue in SQLite: at most one job waits and at most one runs.

Every job is the same: fetch the branch head. A job that waits therefore serves every request that arrives
meanwhile; a request that arrives while a job runs gets a new job.
"""

import sqlite3
import threading
import time

from receiver.adapters.sqlite.database import Database
from receiver.core.redact import Redactor
from receiver.ports import Job

MAX_CRASHES = 3
# The longest retry delay. A job with a later time is due at once: the clock has jumped.
MAX_DELAY_SECONDS = 3600.0
# A timer does not bring a waiting retry forward; every other cause may have changed what the retry waits for.
PATIENT_CAUSES = frozenset({"timer"})
NOTE_CHARACTERS = 1000
KEEP_SECONDS = 7 * 86_400.0  # a timer alone makes 1,440 jobs a day

_WAITING = "state IN ('queued', 'retry')"


class Queue:
    """Methods that write have committed when they return. Retryable: the database cannot be written."""

    def __init__(self, database: Database, redact: Redactor | None = None) -> None:
        self._database = database
        self._redact = redact or Redactor()
        self._woken = threading.Event()

    def enqueue(self, cause: str) -> int:
        """Request a fetch; returns the id of the job that will do it."""
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
        """Lease the waiting job, if it is due and no other runs."""
        if self._seconds_until_due() > 0:  # read first: most calls need no write lock
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
        """End a job that has run; the deployments record its outcomes."""
        self._end(job, "done", note)

    def bury(self, job: Job, note: str) -> None:
        """End a job that cannot succeed by a retry."""
        self._end(job, "dead", note)

    def retry(self, job: Job, after_seconds: float, note: str) -> None:
        """Let the job wait for another attempt; if a newer job already waits, that one supersedes it."""
        with self._database.transaction() as db:
            newer = db.execute(f"SELECT id FROM jobs WHERE {_WAITING}").fetchone()  # noqa: S608 - a constant
            if newer is not None:
                _finish(db, job, "superseded", f"job {newer['id']} takes over: {self._note(note)}")
            else:
                due = time.time() + min(max(after_seconds, 0.0), MAX_DELAY_SECONDS)
                _end_lease(db, job, "state = 'retry', not_before = ?, note = ?", (due, self._note(note)))

    def recover(self, max_crashes: int = MAX_CRASHES) -> Job | None:
        """At start: queue again the job that a dead receiver had leased; bury it after ``max_crashes``."""
        with self._database.transaction() as db:
            row = db.execute(
                "UPDATE jobs SET crashes = crashes + 1 WHERE state = 'leased' RETURNING id, cause, attempts, crashes"
            ).fetchone()
            if row is None:
                return None
            job = Job(row["id"], tuple(row["cause"].split(",")), row["attempts"], row["crashes"])
            newer = db.execute(f"SELECT id FROM jobs WHERE {_WAITING}").fetchone()  # noqa: S608 - a constant
            if job.crashes >= max_crashes:
                _finish(db, job, "dead", f"the receiver died {job.crashes} times while it ran this job")
            elif newer is not None:
                _finish(db, job, "superseded", f"job {newer['id']} takes over: the receiver died")
            else:
                note = f"queued again: the receiver died while it ran this job ({job.crashes} of {max_crashes})"
                _end_lease(db, job, "state = 'queued', not_before = ?, note = ?", (time.time(), note))
        return job

    def wait(self, seconds: float) -> None:
        """Return on :meth:`wake`, when a job is due or after ``seconds`` (monotonic), whichever comes first."""
        self._woken.wait(max(0.0, min(seconds, self._seconds_until_due())))
        self._woken.clear()

    def wake(self) -> None:
        """End the current :meth:`wait`, or the next one."""
        self._woken.set()

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
    _end_lease(db, job, "state = ?, ended_at = ?, note = ?", (state, time.time(), note))


def _end_lease(db: sqlite3.Connection, job: Job, changes: str, values: tuple[object, ...]) -> None:
    changed = db.execute(
        f"UPDATE jobs SET {changes} WHERE id = ? AND state = 'leased'",  # noqa: S608 - constants of this module
        (*values, job.id),
    ).rowcount
    if changed != 1:
        raise RuntimeError(f"job {job.id} is not leased: ended twice, or never claimed")
