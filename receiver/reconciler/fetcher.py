"""Fetching the branch head: a job of its own, whose newest result is what everything else works from."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from receiver.core.backoff import Backoff
from receiver.core.errors import InvalidPins, Rejected, Retryable
from receiver.core.pins import Desired
from receiver.notifications.announce import rejection
from receiver.notifications.heads import publish_invalid
from receiver.planning.observe import read_desired
from receiver.ports import Job, Jobs, Snapshot
from receiver.reconciler.background import BackgroundTask
from receiver.services import Services

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
BACKOFF = Backoff(first=1.0, longest=60.0)
START_OVER_SECONDS = 5.0  # how long to leave a state file alone that could not be read or written
PATIENCE_SECONDS = 0.5  # how long a job enqueued by another process may wait unseen
STOP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Head:
    """The newest known pins. ``problem``: why nothing new may be deployed from them; empty: it may."""

    snapshot: Snapshot
    desired: Desired
    cause: str  # who asked for it
    problem: str = ""


class Heads(Protocol):
    """Who works from the head."""

    def publish(self, head: Head) -> None:
        """There is a head, perhaps the one from before."""
        ...

    def keep(self, problem: str) -> None:
        """The branch could not be read, or its pins are not valid: keep what is verified, deploy nothing new."""
        ...


class Fetcher:
    """Claims jobs; each fetches the head once. A remote that hangs delays the next head, and nothing else."""

    def __init__(
        self,
        services: Services,
        queue: Jobs,
        heads: Heads,
        poll_seconds: float,
        after: Sequence[BackgroundTask] = (),
    ) -> None:
        self._services = services
        self._queue = queue
        self._heads = heads
        self._poll_seconds = poll_seconds
        self._after = after
        self._stop = threading.Event()
        self._next_poll = 0.0  # monotonic
        self._last_rejection = ""  # notified of once, not at every fetch
        self._thread = threading.Thread(target=self._run, name="fetcher", daemon=True)

    def start(self) -> None:
        """Fetch at once: what was missed while away is found by looking."""
        self._thread.start()

    def end(self) -> None:
        """Fetch no more; returns at once."""
        self._stop.set()
        self._queue.wake()

    def stop(self) -> None:
        """End it and wait. A remote that hangs is left behind."""
        self.end()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._queue.recover()
                self._queue.enqueue("startup")
                self._next_poll = time.monotonic() + self._poll_seconds
                while not self._stop.is_set():
                    self._turn()
            except Retryable as error:
                log.error("starting over in %g s: %s", START_OVER_SECONDS, error)  # noqa: TRY400 - it says it all
            except Exception:
                log.exception("starting over in %g s: a bug, or a state file that cannot be read", START_OVER_SECONDS)
            self._stop.wait(START_OVER_SECONDS)

    def _turn(self) -> None:
        if time.monotonic() >= self._next_poll:
            self._queue.enqueue("timer")
            self._next_poll = time.monotonic() + self._poll_seconds
        job = self._queue.claim()
        if job is None:
            self._queue.wait(min(PATIENCE_SECONDS, max(0.0, self._next_poll - time.monotonic())))
            return
        self._work(job)
        for task in self._after:
            task.wake()

    def _work(self, job: Job) -> None:
        try:
            snapshot = self._services.source.snapshot()
            desired = read_desired(self._services, snapshot)
            self._services.journal.remember_pins(snapshot)
        except Retryable as error:
            self._schedule_retry(job, str(error), error.after)
        except Rejected as error:
            log.error("job %d: %s", job.id, error)  # noqa: TRY400 - what is wrong stands in the message
            if isinstance(error, InvalidPins):
                publish_invalid(self._services, error)
            if str(error) != self._last_rejection:
                self._services.outbox.put(rejection(error))
            self._last_rejection = str(error)
            self._heads.keep(str(error))
            self._queue.bury(job, str(error))
        except Exception as error:
            log.exception("job %d: a bug", job.id)
            if job.attempts >= MAX_ATTEMPTS:
                self._queue.bury(job, f"{type(error).__name__}: {error}")
            else:
                self._schedule_retry(job, f"{type(error).__name__}: {error}")
        else:
            self._last_rejection = ""
            cause = f"{job.cause} (history rewritten)" if snapshot.rewritten else job.cause
            self._heads.publish(Head(snapshot, desired, cause))
            if snapshot.stale:
                self._schedule_retry(job, snapshot.stale)
            else:
                self._queue.done(job, f"the pins at {snapshot.commit[:12]}")

    def _schedule_retry(self, job: Job, reason: str, after: float | None = None) -> None:
        after = BACKOFF.after(job.attempts) if after is None else after
        log.warning("job %d: again in %g s: %s", job.id, after, reason)
        self._queue.retry(job, after, reason)
