"""Delivering the outbox: whatever hangs delays only what is about the same thing, and never the receiver's end.

Messages about one subject go out one after another on one thread. Those of a kind share a few threads, so that even
twenty pull requests that hang leave the commit statuses theirs. The threads are daemons: the process ends without
them, and what they had not delivered is delivered after the next start.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from receiver.adapters.sqlite.outbox import Sender, SqliteOutbox, WaitingMessage
from receiver.adapters.time_limit import time_limit
from receiver.core.errors import Retryable

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
AT_ONCE = 8  # threads per channel and kind; GitHub wants no crowd
# Longer than any sender gives itself. One that takes longer has a call that no timeout reached.
LONGEST_SECONDS = 1260.0
LAST_SECONDS = 1.0  # at the end, for the messages of the last job
KILL_SECONDS = 0.5  # and for the programs of those that hang

_Subject = tuple[str, str]
_Kind = tuple[str, str]  # channel and kind


@dataclass
class _Delivery:
    """The messages about one subject, on their thread."""

    kind: _Kind
    messages: Sequence[WaitingMessage]
    thread: threading.Thread
    current: WaitingMessage
    began: float = field(default_factory=time.monotonic)
    abandoned: bool = False


class OutboxDelivery:
    """Delivers what is due, from :meth:`start` to :meth:`stop`. ``senders`` as in :meth:`SqliteOutbox.waiting`."""

    def __init__(self, outbox: SqliteOutbox, senders: Mapping[str, Sender]) -> None:
        self._outbox = outbox
        self._senders = senders
        self._running: dict[_Subject, _Delivery] = {}
        self._abandoned: list[_Delivery] = []
        self._stopping = threading.Event()
        self._kill = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver once more what is due, for a moment, then leave behind what hangs."""
        self._stopping.set()
        self._thread.join(LAST_SECONDS + KILL_SECONDS)
        self._kill.set()
        deadline = time.monotonic() + KILL_SECONDS
        for delivery in [*self._running.values(), *self._abandoned]:
            delivery.thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            self._start_due()
        deadline = time.monotonic() + LAST_SECONDS
        self._start_due()
        for delivery in list(self._running.values()):
            delivery.thread.join(max(0.0, deadline - time.monotonic()))

    def _start_due(self) -> None:
        try:
            self._tidy()
            for subject, messages in self._by_subject().items():
                if subject not in self._running and messages[0].is_due:
                    self._begin(subject, messages)
        except Retryable as error:
            log.warning("the outbox waits: %s", error)
        except Exception:
            log.exception("the outbox waits: a bug, or a state file that cannot be read")

    def _by_subject(self) -> dict[_Subject, list[WaitingMessage]]:
        found: dict[_Subject, list[WaitingMessage]] = {}
        for message in self._outbox.waiting(self._senders):
            found.setdefault(message.subject, []).append(message)
        return found

    def _begin(self, subject: _Subject, messages: Sequence[WaitingMessage]) -> None:
        kind = (messages[0].channel, str(messages[0].body.get("kind")))
        busy = Counter(delivery.kind for delivery in [*self._running.values(), *self._abandoned])
        if busy[kind] >= AT_ONCE:
            return
        thread = threading.Thread(target=lambda: self._deliver(delivery), name=f"delivery to {kind[0]}", daemon=True)
        delivery = _Delivery(kind, messages, thread, messages[0])
        self._running[subject] = delivery
        thread.start()

    def _deliver(self, delivery: _Delivery) -> None:
        """Deliver message after message, as far as they are due."""
        for message in delivery.messages:
            if not message.is_due:
                return
            delivery.began, delivery.current = time.monotonic(), message
            try:
                gone = self._deliver_one(message)
            except Retryable as error:
                log.warning("the outbox waits: %s", error)
                return
            except Exception:
                log.exception("the outbox waits: a bug, or a state file that cannot be read")
                return
            if not gone or delivery.abandoned or self._kill.is_set():
                return

    def _deliver_one(self, message: WaitingMessage) -> bool:
        """Whether it is out of the way of the next about the same subject."""
        try:
            with time_limit(LONGEST_SECONDS, self._kill):
                self._senders[message.channel](message.body)
        except Exception as error:  # noqa: BLE001 - whatever a notifier does, outcomes do not change
            # Cut off by our own end, it has not failed: it is delivered after the next start, without a wait.
            return not self._kill.is_set() and self._outbox.failed(message, error)
        self._outbox.delivered(message)
        return True

    def _tidy(self) -> None:
        """Forget what has ended, and record as failed what has taken too long, so that it is tried again."""
        self._abandoned = [delivery for delivery in self._abandoned if delivery.thread.is_alive()]
        for subject, delivery in list(self._running.items()):
            if not delivery.thread.is_alive():
                del self._running[subject]
            elif time.monotonic() - delivery.began > LONGEST_SECONDS:
                delivery.abandoned = True
                del self._running[subject]
                self._abandoned.append(delivery)
                self._outbox.failed(delivery.current, Retryable(f"it took longer than {LONGEST_SECONDS:g} s"))
