"""Delivering the outbox: whatever hangs delays only what is about the same thing, and never the receiver's end.

Messages about one subject go out one after another on one thread. Those of a kind share a few threads, so that even
twenty pull requests that hang leave the commit statuses theirs. The threads are daemons: the process ends without
them, and what they had not delivered is delivered after the next start.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
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
    current: WaitingMessage
    began: float = field(default_factory=time.monotonic)
    abandoned: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class OutboxDelivery:
    """Delivers what is due, from :meth:`start` to :meth:`stop`. ``senders`` as in :meth:`SqliteOutbox.waiting`."""

    def __init__(self, outbox: SqliteOutbox, senders: Mapping[str, Sender]) -> None:
        self._outbox = outbox
        self._senders = senders
        self._due: dict[_Kind, deque[list[WaitingMessage]]] = {}  # as last read, by subject, not begun yet
        self._running: dict[_Subject, _Delivery] = {}
        self._abandoned: list[_Delivery] = []
        self._changed = threading.Event()  # a delivery has ended, or all are to
        self._stopping = threading.Event()
        self._kill = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver once more what is due, for a moment, then leave behind what hangs."""
        self._stopping.set()
        self._changed.set()
        self._thread.join(LAST_SECONDS + KILL_SECONDS)
        self._kill.set()
        deadline = time.monotonic() + KILL_SECONDS
        for delivery in [*self._running.values(), *self._abandoned]:
            delivery.ended.wait(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._deliver_for(POLL_SECONDS)
        self._deliver_for(LAST_SECONDS, last=True)

    def _deliver_for(self, seconds: float, *, last: bool = False) -> None:
        """Read what is due and deliver it; the ``last`` time only until all of that has ended."""
        deadline = time.monotonic() + seconds
        self._attempt(self._read)
        while True:
            self._attempt(self._begin_due)
            left = deadline - time.monotonic()
            if left <= 0 or (not self._running if last else self._stopping.is_set()):
                return
            self._changed.wait(left)
            self._changed.clear()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Retryable as error:
            log.warning("the outbox waits: %s", error)
        except Exception:
            log.exception("the outbox waits: a bug, or a state file that cannot be read")

    def _read(self) -> None:
        """What is being delivered is left out: what its thread has delivered by now is not known here."""
        by_subject: dict[_Subject, list[WaitingMessage]] = {}
        for message in self._outbox.waiting(self._senders):
            by_subject.setdefault(message.subject, []).append(message)
        self._due = {}
        for subject, messages in by_subject.items():
            if subject not in self._running and messages[0].is_due:
                self._due.setdefault(_kind(messages[0]), deque()).append(messages)

    def _begin_due(self) -> None:
        """Forget what has ended, record as failed what has taken too long, and begin what may begin."""
        self._abandoned = [delivery for delivery in self._abandoned if not delivery.ended.is_set()]
        for subject, delivery in list(self._running.items()):
            if delivery.ended.is_set():
                del self._running[subject]
            elif time.monotonic() - delivery.began > LONGEST_SECONDS:
                delivery.abandoned = True
                del self._running[subject]
                self._abandoned.append(delivery)
                self._outbox.failed(delivery.current, Retryable(f"it took longer than {LONGEST_SECONDS:g} s"))
        busy = Counter(delivery.kind for delivery in [*self._running.values(), *self._abandoned])
        for kind, subjects in self._due.items():
            for _ in range(min(AT_ONCE - busy[kind], len(subjects))):
                self._begin(subjects.popleft())

    def _begin(self, messages: Sequence[WaitingMessage]) -> None:
        delivery = _Delivery(_kind(messages[0]), messages, messages[0])
        self._running[messages[0].subject] = delivery
        threading.Thread(
            target=self._deliver, args=(delivery,), name=f"delivery to {messages[0].channel}", daemon=True
        ).start()

    def _deliver(self, delivery: _Delivery) -> None:
        """Deliver message after message, as far as they are due."""
        for message in delivery.messages:
            if not message.is_due or delivery.abandoned or self._kill.is_set():
                break
            delivery.began, delivery.current = time.monotonic(), message
            try:
                gone = self._deliver_one(message)
            except Retryable as error:
                log.warning("the outbox waits: %s", error)
                break
            except Exception:
                log.exception("the outbox waits: a bug, or a state file that cannot be read")
                break
            if not gone:
                break
        delivery.ended.set()
        self._changed.set()

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


def _kind(message: WaitingMessage) -> _Kind:
    return message.channel, str(message.body.get("kind"))
