"""Read-only queries on deliveries, jobs, outbox and deployments, for the dashboard, API and metrics."""

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from receiver.adapters.sqlite.cursor import Cursor
from receiver.adapters.sqlite.database import Database
from receiver.core.deployment import Outcome, Trigger
from receiver.core.state import Slot
from receiver.core.times import iso


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One webhook delivery without its body, and the state of the job that it joined. Published as it is."""

    id: str
    """The sender's own."""
    sender: str
    """github or mlflow."""
    event: str
    received: str
    """ISO 8601, UTC."""
    verdict: str
    """accepted, ignored or malformed."""
    note: str
    """Why."""
    job: int | None
    job_state: str | None
    """queued, leased, retry, done, dead or superseded."""
    job_note: str | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job of the queue."""

    id: int
    state: str  # queued | leased | retry | done | dead | superseded
    cause: str
    queued_at: float
    not_before: float
    attempts: int
    crashes: int
    ended_at: float | None
    note: str


@dataclass(frozen=True, slots=True)
class DeploymentQuery:
    """Which deployments are wanted; None: of all environments, models or outcomes, from the newest."""

    limit: int
    environment: str | None = None
    model: str | None = None
    outcome: str | None = None
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class DeliveryQuery:
    """Which deliveries are wanted; None: of all jobs or verdicts, from the newest."""

    limit: int
    job: int | None = None
    verdict: str | None = None
    cursor: Cursor | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """The number of rows with these labels."""

    labels: Sequence[str]
    value: int


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the journal, as far as a picture of many needs it."""

    at: float  # when it began; seconds since the epoch
    state: Outcome
    version: int | None
    cause: str


@dataclass(frozen=True, slots=True)
class Durations:
    """How long the deployments of one slot took: how many, seconds in all, and how many took at most each bound."""

    labels: Sequence[str]
    count: int
    seconds: float
    within: Sequence[int]


def _key(cursor: Cursor | None) -> tuple[float | None, int | None]:
    return (None, None) if cursor is None else (cursor.at, cursor.number)


# How a refusal names a check that failed or could not tell; see ml.evidence.Verdict.
_FAILED = re.compile(r"(?:FAIL|INCONCLUSIVE): ([\w.]{1,80})=")


class StateQueries:
    """Reads from any thread, concurrently with writers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def deliveries(self, limit: int, job: int | None = None) -> list[DeliveryRow]:
        """The last deliveries, newest first; with ``job``, those that joined it."""
        return self.delivery_page(DeliveryQuery(limit, job))[0]

    def delivery_page(self, wanted: "DeliveryQuery") -> tuple[list[DeliveryRow], Cursor | None]:
        """Deliveries, newest first, and where the page ends if there are more."""
        rows = self._all(
            "SELECT deliveries.id, sender, event, received_at AS received, verdict, deliveries.note, job,"
            " jobs.state AS job_state, jobs.note AS job_note, deliveries.rowid AS number"
            " FROM deliveries LEFT JOIN jobs ON jobs.id = job"
            " WHERE (?1 IS NULL OR job = ?1) AND (?2 IS NULL OR verdict = ?2)"
            " AND (?3 IS NULL OR (received_at, deliveries.rowid) < (?3, ?4))"
            " ORDER BY received_at DESC, deliveries.rowid DESC LIMIT ?5",
            wanted.job,
            wanted.verdict,
            *_key(wanted.cursor),
            wanted.limit + 1,
        )
        found = rows[: wanted.limit]
        end = Cursor(found[-1]["received"], found[-1]["number"]) if len(rows) > wanted.limit else None
        named = ({name: row[name] for name in row.keys() if name != "number"} for row in found)  # noqa: SIM118
        return [DeliveryRow(**{**row, "received": iso(row["received"])}) for row in named], end

    def deployment_page(self, wanted: "DeploymentQuery") -> tuple[list[int], Cursor | None]:
        """The numbers of deployments, newest first, and where the page ends if there are more."""
        rows = self._all(
            "SELECT id, coalesce(repeated_at, started_at) AS at FROM deployments WHERE repeat_of IS NULL"
            " AND environment = coalesce(?1, environment) AND model = coalesce(?2, model)"
            " AND state = coalesce(?3, state) AND (?4 IS NULL OR (coalesce(repeated_at, started_at), id) < (?4, ?5))"
            " ORDER BY coalesce(repeated_at, started_at) DESC, id DESC LIMIT ?6",
            wanted.environment,
            wanted.model,
            wanted.outcome,
            *_key(wanted.cursor),
            wanted.limit + 1,
        )
        found = rows[: wanted.limit]
        end = Cursor(found[-1]["at"], found[-1]["id"]) if len(rows) > wanted.limit else None
        return [row["id"] for row in found], end

    def current_jobs(self) -> list[JobRow]:
        """The running and the waiting job, if any."""
        return self._jobs("state IN ('leased', 'queued', 'retry') ORDER BY id")

    def last_job(self) -> JobRow | None:
        """The job that ended last, in any state."""
        return next(iter(self._jobs("ended_at IS NOT NULL ORDER BY ended_at DESC, id DESC LIMIT 1")), None)

    def overdue_seconds(self) -> float:
        """How long a job has been due with no other running; 0 while the fetcher keeps up."""
        jobs = self.current_jobs()
        if not jobs or any(job.state == "leased" for job in jobs):
            return 0.0
        last = self.last_job()
        free_since = last.ended_at if last is not None and last.ended_at is not None else 0.0
        return max(0.0, time.time() - max(jobs[0].not_before, free_since))

    def delivery_counts(self) -> list[Count]:
        """Deliveries by sender and verdict."""
        return self._counts("SELECT sender, verdict, count(*) FROM deliveries GROUP BY 1, 2")

    def job_counts(self) -> list[Count]:
        """Jobs by state."""
        return self._counts("SELECT state, count(*) FROM jobs GROUP BY 1")

    def deployment_counts(self) -> list[Count]:
        """Ended deployments by environment, model and outcome."""
        return self._counts(
            "SELECT environment, model, state, count(*) FROM deployments"
            " WHERE ended_at IS NOT NULL AND repeat_of IS NULL GROUP BY 1, 2, 3"
        )

    def durations(self, bounds: Sequence[float]) -> list[Durations]:
        """How long deployments took until they were verified, by environment and model; healing aside."""
        counted = ", ".join("sum(ended_at - started_at <= ?)" for _ in bounds)
        rows = self._all(
            f"SELECT environment, model, count(*), sum(ended_at - started_at), {counted} FROM deployments"  # noqa: S608
            " WHERE state = ? AND cause != ? AND ended_at > started_at GROUP BY 1, 2",
            *bounds,
            Outcome.LIVE,
            Trigger.DRIFT,
        )
        return [Durations((row[0], row[1]), row[2], row[3], list(row)[4:]) for row in rows]

    def pushes(self, bounds: Sequence[float]) -> list[Durations]:
        """From the delivery of a push until its commit was verified, by environment and model; soaks aside."""
        counted = ", ".join("sum(seconds <= ?)" for _ in bounds)
        rows = self._all(
            "WITH pushed AS MATERIALIZED (SELECT substr(note, -12) AS head, min(received_at) AS at FROM deliveries"  # noqa: S608
            " WHERE verdict = 'accepted' AND event = 'push' GROUP BY head),"
            " held AS MATERIALIZED (SELECT DISTINCT environment, model, revision FROM deployments WHERE state = ?),"
            " taken AS (SELECT deployments.environment, deployments.model, ended_at - at AS seconds FROM pushed"
            " JOIN deployments ON substr(deployments.revision, 1, 12) = head AND started_at >= at"
            " LEFT JOIN held ON held.environment = deployments.environment AND held.model = deployments.model"
            " AND held.revision = deployments.revision"
            " WHERE state = ? AND cause != ? AND repeat_of IS NULL AND held.revision IS NULL)"
            f" SELECT environment, model, count(*), sum(seconds), {counted} FROM taken GROUP BY 1, 2",
            Outcome.WAITING,
            Outcome.LIVE,
            Trigger.DRIFT,
            *bounds,
        )
        return [Durations((row[0], row[1]), row[2], row[3], list(row)[4:]) for row in rows]

    def steps(self, bounds: Sequence[float]) -> list[Durations]:
        """How long each kind of step took where it succeeded."""
        counted = ", ".join("sum(ended_at - started_at <= ?)" for _ in bounds)
        rows = self._all(
            "SELECT json_extract(action, '$.kind'), count(*), sum(ended_at - started_at),"  # noqa: S608
            f" {counted} FROM steps WHERE result = 'done' AND ended_at >= started_at GROUP BY 1",
            *bounds,
        )
        return [Durations((row[0],), row[1], row[2], list(row)[3:]) for row in rows]

    def refusal_counts(self) -> list[Count]:
        """Refused pins by environment, model and the check that failed; ``policy`` where it was none of the gate."""
        found: Counter[tuple[str, str, str]] = Counter()
        rows = self._all(
            "SELECT environment, model, reason FROM deployments WHERE state = ? AND repeat_of IS NULL",
            Outcome.REFUSED,
        )
        for environment, model, reason in rows:
            for check in set(_FAILED.findall(reason)) or {"policy"}:
                found[environment, model, check] += 1
        return [Count(labels, value) for labels, value in found.items()]

    def journal_version(self) -> object:
        """Differs from what it was before if a deployment was begun or ended meanwhile."""
        [row] = self._all(
            "SELECT (SELECT max(id) FROM deployments), (SELECT count(*) FROM deployments WHERE state = ?)",
            Outcome.RUNNING,
        )
        return tuple(row)

    def events_since(self, since: float) -> dict[Slot, list[Event]]:
        """What was done to each slot since a time, oldest first, repetitions aside."""
        rows = self._all(
            "SELECT environment, model, started_at, state, to_version, cause FROM deployments"
            " WHERE repeat_of IS NULL AND started_at >= ? ORDER BY started_at",
            since,
        )
        found: dict[Slot, list[Event]] = {}
        slots: dict[tuple[str, str], Slot] = {}
        for environment, model, started, state, version, cause in rows:
            slot = slots.setdefault((environment, model), Slot(environment, model))
            found.setdefault(slot, []).append(Event(started, Outcome(state), version, cause))
        return found

    def live_before(self, when: float) -> dict[Slot, int | None]:
        """The version that was verified last in each slot before a time; None: proven empty."""
        rows = self._all(
            "SELECT environment, model, to_version, max(id) FROM deployments"
            " WHERE state = ? AND started_at < ? GROUP BY environment, model",
            Outcome.LIVE,
            when,
        )
        return {Slot(environment, model): version for environment, model, version, _ in rows}

    def last_entries(self) -> dict[Slot, Event]:
        """The last entry of each slot, repetitions aside."""
        rows = self._all(
            "SELECT environment, model, started_at, state, to_version, cause FROM deployments WHERE id IN"
            " (SELECT max(id) FROM deployments WHERE repeat_of IS NULL GROUP BY environment, model)"
        )
        return {Slot(row[0], row[1]): Event(row[2], Outcome(row[3]), row[4], row[5]) for row in rows}

    def unsent(self) -> int:
        """The number of messages not yet delivered or given up."""
        [row] = self._all("SELECT count(*) FROM outbox WHERE sent_at IS NULL AND given_up_at IS NULL")
        return int(row[0])

    def _jobs(self, where: str) -> list[JobRow]:
        columns = "id, state, cause, queued_at, not_before, attempts, crashes, ended_at, note"
        return [JobRow(*row) for row in self._all(f"SELECT {columns} FROM jobs WHERE {where}")]  # noqa: S608

    def _counts(self, sql: str) -> list[Count]:
        return [Count(tuple(row)[:-1], row[len(row) - 1]) for row in self._all(sql)]

    def _all(self, sql: str, *parameters: object) -> list[Any]:
        return self._database.connection().execute(sql, parameters).fetchall()
