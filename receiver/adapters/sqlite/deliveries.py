"""Deliveries and the jobs that they ask for, in one transaction each batch, on disk before anybody is answered.

One thread writes. What arrives while it waits for the disk goes into the next transaction together, so a burst
costs a few commits and not a thousand.
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
# Less than the 10 s that GitHub waits: it should hear from us that it has to be delivered again.
PATIENCE_SECONDS = 7.0
KEEP_SECONDS = 90 * 86_400.0  # GitHub delivers again for 3 days; the rest is for people who look back
# A job in one of these states has looked, or will look, for this delivery.
_SERVED: Final = ("queued", "leased", "done")

_Entry = tuple[Delivery, "Future[None]"]


class Inbox:
    """Start it before the first delivery; :meth:`close` writes what has come in and ends the thread."""

    def __init__(self, database: Database, jobs: Queue) -> None:
        self._database = database
        self._jobs = jobs
        self._waiting: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="inbox", daemon=True)
        self._writer.start()

    async def accept(self, delivery: Delivery) -> None:
        """Store a delivery, and the job that it asks for; both are on disk when this returns.

        The same delivery again asks for nothing while its job waits, runs or is done, and asks again where its job
        failed.

        Raises:
            Retryable: it is not stored, or nobody knows in time whether it is.
        """
        written: Future[None] = Future()
        self._waiting.put((delivery, written))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.wrap_future(written)
        except TimeoutError as error:
            raise Retryable(f"the state database {self._database.path} did not take it in time") from error

    def close(self) -> None:
        """Write what has come in, then stop."""
        self._waiting.put(None)
        self._writer.join()

    def _write_all(self) -> None:
        open_for_more = True
        while open_for_more:
            entry = self._waiting.get()
            batch: list[_Entry] = []
            while entry is not None:
                # Running or not: a caller that gave up waiting takes nothing back.
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
                news = [self._store(db, delivery) for delivery, _ in batch]
                db.execute("DELETE FROM deliveries WHERE received_at < ?", (time.time() - KEEP_SECONDS,))
        except Retryable as error:
            _tell(batch, error)
        except Exception as error:
            if len(batch) == 1:
                log.exception("delivery %s could not be stored: a bug", batch[0][0].id)
                _tell(batch, Retryable(f"not stored: {type(error).__name__}"))
            else:  # one that cannot be stored must not take the others with it
                for entry in batch:
                    self._write([entry])
        else:
            if any(news):
                self._jobs.wake()
            _tell(batch, None)

    def _store(self, db: sqlite3.Connection, delivery: Delivery) -> bool:
        """Whether the delivery asked for a job."""
        known = db.execute(
            "SELECT jobs.state FROM deliveries LEFT JOIN jobs ON jobs.id = job WHERE deliveries.id = ?",
            (delivery.id,),
        ).fetchone()
        if known is not None and (known["state"] is None or known["state"] in _SERVED):
            return False
        wanted = delivery.verdict.kind is DeliveryKind.ACCEPTED
        job = self._jobs.join(db, delivery.cause) if wanted else None
        if known is not None:
            db.execute("UPDATE deliveries SET job = ? WHERE id = ?", (job, delivery.id))
            return wanted
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
        return wanted


def _tell(batch: list[_Entry], error: Exception | None) -> None:
    for _, written in batch:
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(error)
