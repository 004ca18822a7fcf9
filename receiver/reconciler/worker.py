"""The worker: claim a job, reconcile, and acknowledge, retry or bury it. One thread; one job at a time.

What if it dies halfway? A leased job is queued again by the next receiver (three crashes bury it), running
deployments are closed as interrupted, and the first job looks at the world anew. The same is done where the worker
lived and its memory failed it: a state file that is locked or full for a while must not end the receiver's work.
"""

import logging
import math
import threading
import time
from collections.abc import Sequence

from receiver.core.backoff import Backoff
from receiver.core.errors import Rejected, Retryable
from receiver.notifications.announce import rejection
from receiver.planning.status import StatusBoard
from receiver.ports import Job, Jobs
from receiver.reconciler.background import BackgroundTask
from receiver.reconciler.liveness import LivenessMonitor
from receiver.reconciler.reconcile import Report, close_interrupted, reconcile
from receiver.services import Services

log = logging.getLogger(__name__)

DIED = "the receiver ended, or lost its state file, before this deployment ended"
MAX_ATTEMPTS = 3
BACKOFF = Backoff(first=1.0, longest=60.0)
START_OVER_SECONDS = 5.0  # how long to leave a state file alone that could not be read or written
PATIENCE_SECONDS = 0.5  # how long a job enqueued by another process may wait unseen


class Worker:
    """Runs until asked to stop; a running job is finished first."""

    def __init__(
        self,
        services: Services,
        queue: Jobs,
        status_board: StatusBoard,
        poll_seconds: float,
        after: Sequence[BackgroundTask] = (),
    ) -> None:
        self._services = services
        self._status_board = status_board
        self._queue = queue
        self._poll_seconds = poll_seconds
        self._after = after
        self._liveness = LivenessMonitor(services.target)
        self._stop = threading.Event()
        self._next_poll = 0.0  # monotonic
        self._last_rejection = ""  # logged once, not at every reconciliation

    def stop(self) -> None:
        """Finish the job at hand, then return from :meth:`run`."""
        self._stop.set()
        self._queue.wake()

    def run(self) -> None:
        """Work until stopped. The first look is taken at once: what was missed while away is found by looking."""
        while not self._stop.is_set():
            try:
                self._take_over()
                while not self._stop.is_set():
                    self._turn()
            except Retryable as error:
                log.error("starting over in %g s: %s", START_OVER_SECONDS, error)  # noqa: TRY400 - it says it all
            except Exception:
                log.exception("starting over in %g s: a bug, or a state file that cannot be read", START_OVER_SECONDS)
            self._stop.wait(START_OVER_SECONDS)

    def _take_over(self) -> None:
        """Take up the job that was left, and look."""
        self._queue.recover()
        self._queue.enqueue("startup")
        self._next_poll = time.monotonic() + self._poll_seconds

    def _turn(self) -> None:
        if time.monotonic() >= self._next_poll:
            self._queue.enqueue("timer")
            self._next_poll = time.monotonic() + self._poll_seconds
        job = self._queue.claim()
        if job is None:
            for slot in self._liveness.ended():
                log.warning("%s has no live server any more", slot)
                self._queue.enqueue("server ended")
            self._queue.wait(min(PATIENCE_SECONDS, max(0.0, self._next_poll - time.monotonic())))
            return
        self._work(job)
        for task in self._after:
            task.wake()

    def _work(self, job: Job) -> None:
        try:
            self._close_what_was_left()
            report = reconcile(self._services, job.cause)
        except Retryable as error:
            self._schedule_retry(job, str(error), error.after)
        except Rejected as error:
            log.error("job %d: %s", job.id, error)  # noqa: TRY400 - what is wrong stands in the message
            self._queue.bury(job, str(error))
            if str(error) != self._last_rejection:
                self._services.outbox.put(rejection(error))
            self._last_rejection = str(error)
        except Exception as error:
            log.exception("job %d: a bug", job.id)
            if job.attempts >= MAX_ATTEMPTS:
                self._queue.bury(job, f"{type(error).__name__}: {error}")
            else:
                self._schedule_retry(job, f"{type(error).__name__}: {error}")
        else:
            self._last_rejection = ""
            self._conclude(job, report)

    def _close_what_was_left(self) -> None:
        """End deployments that nobody else ends: their receiver died, or their end could not be written."""
        for left in close_interrupted(self._services, DIED):
            log.warning("deployment %d of %s was interrupted", left.id, left.draft.slot)

    def _conclude(self, job: Job, report: Report) -> None:
        self._status_board.update(report.seen)
        verified = report.seen.verified.items()
        self._liveness.expect([slot for slot, was in verified if was.version is not None])
        for line in report.drift:
            log.warning("drift, left alone because PINRAIL_HEAL is off: %s", line)
        if report.deferred:
            self._schedule_retry(job, "; ".join(dict.fromkeys(report.deferred)))
        else:
            self._queue.done(job, f"{report.seen.snapshot.commit[:12]}: {len(report.outcomes)} deployments")
        self._bring_forward(report.next_check_at)

    def _schedule_retry(self, job: Job, reason: str, after: float | None = None) -> None:
        after = BACKOFF.after(job.attempts) if after is None else after
        log.warning("job %d: again in %g s: %s", job.id, after, reason)
        self._queue.retry(job, after, reason)

    def _bring_forward(self, next_check_at: float) -> None:
        """A soak that ends before the next look brings it forward."""
        if next_check_at < math.inf:
            wait = max(0.05, next_check_at - time.time())
            self._next_poll = min(self._next_poll, time.monotonic() + wait)
