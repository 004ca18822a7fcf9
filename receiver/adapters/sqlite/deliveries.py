"""Stores webhook deliveries and the jobs that they request. Both are on disk before the sender gets an answer.

One thread writes. Deliveries that arrive while it waits for the disk share the next transaction, so a burst of a
thousand costs a few commits.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from typing import Final

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.queue import Queue
from receiver.core.delivery import Delivery, DeliveryKind
from receiver.core.errors import Retryable

log = logging.getLogger(__name__)

BATCH = 256
# Less than the 10 s that GitHub waits: our 503 tells it that the delivery failed.
ACCEPT_SECONDS = 7.0
KEEP_SECONDS = 90 * 86_400.0  # GitHub redelivers for 3 days; the rest is for people
# A job in one of these states has served the delivery, or will.
_SERVED: Final = ("queued", "leased", "done")

_Entry = tuple[Delivery, "Future[None]"]


class Inbox:
    """The writer of deliveries. Create it before the first delivery; :meth:`close` writes the rest and stops."""

    def __init__(self, database: Database, jobs: Queue) -> None:
        self._database = database
        self._jobs = jobs
        self._waiting: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="inbox", daemon=True)
        self._writer.start()

    async def accept(self, delivery: Delivery) -> None:
        """Store a delivery and the job that it requests; both are on disk when this returns.

        A repeated delivery requests nothing while its job waits, runs or is done, and a new job if its job failed.

        Raises:
            Retryable: it was not stored, or not confirmed in time.
        """
        written: Future[None] = Future()
        self._waiting.put((delivery, written))
        try:
            async with asyncio.timeout(ACCEPT_SECONDS):
                await asyncio.wrap_future(written)
        except TimeoutError as error:
            raise Retryable(
                f"the state database {self._database.path} did not store it within {ACCEPT_SECONDS:g} s"
            ) from error

    def close(self) -> None:
        """Write what has arrived, then stop."""
        self._waiting.put(None)
        self._writer.join()

    def _write_all(self) -> None:
        open_for_more = True
        while open_for_more:
            entry = self._waiting.get()
            batch: list[_Entry] = []
            while entry is not None:
                # Cancelled by a caller that has timed out: not stored. From here on it cannot be cancelled.
                if entry[1].set_running_or_notify_cancel():
                    batch.append(entry)
                if len(batch) == BATCH or self._waiting.empty():
                    break
                entry = self._waiting.get()
            open_for_more = entry is not None
            self._write(batch)

    def _write(self, batch: list[_Entry]) -> None:
        if not batch:
            return
        try:
            with self._database.transaction() as db:
                requested = [self._store(db, delivery) for delivery, _ in batch]
                db.execute("DELETE FROM deliveries WHERE received_at < ?", (time.time() - KEEP_SECONDS,))
        except Retryable as error:
            _resolve(batch, error)
        except Exception as error:
            if len(batch) == 1:
                log.exception("delivery %s cannot be stored; this is a bug", batch[0][0].id)
                _resolve(batch, Retryable(f"not stored: {type(error).__name__}"))
            else:  # one bad delivery must not fail the others
                for entry in batch:
                    self._write([entry])
        else:
            if any(requested):
                self._jobs.wake()
            _resolve(batch, None)

    def _store(self, db: sqlite3.Connection, delivery: Delivery) -> bool:
        """Whether the delivery requested a job."""
        known = db.execute(
            "SELECT jobs.state FROM deliveries LEFT JOIN jobs ON jobs.id = job WHERE deliveries.id = ?",
            (delivery.id,),
        ).fetchone()
        if known is not None and (known["state"] is None or known["state"] in _SERVED):
            return False
        accepted = delivery.verdict.kind is DeliveryKind.ACCEPTED
        job = self._jobs.join(db, delivery.cause) if accepted else None
        if known is not None:
            db.execute("UPDATE deliveries SET job = ? WHERE id = ?", (job, delivery.id))
            return accepted
        db.execute(
            "INSERT INTO deliveries (id, sender, event, received_at, body, verdict, note, job)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                delivery.id,
                delivery.sender,
                delivery.event,
                time.time(),
                delivery.body,
                delivery.verdict.kind,
                delivery.verdict.note,
                job,
            ),
        )
        return accepted


def _resolve(batch: list[_Entry], error: Exception | None) -> None:
    for _, written in batch:
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
