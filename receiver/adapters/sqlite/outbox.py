"""Messages to GitHub and chats: kept until they are delivered, at least once, and in order where it matters.

Delivery is separate from deployment. A deployment stores its messages here and continues. A receiver that dies
delivers them after its restart. A destination that is down is tried again at growing intervals.
"""

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from receiver.adapters.sqlite.database import Database
from receiver.core.backoff import Backoff
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import GITHUB, Message, subject_of
from receiver.core.redact import Redactor

log = logging.getLogger(__name__)

BACKOFF = Backoff(first=5.0, longest=3600.0)
GIVE_UP_SECONDS = 24 * 3600.0  # older messages mislead more than they help
# Except where a message stays visible: a commit must not be pending for ever because a token had expired.
LASTING = {GITHUB: 14 * 86_400.0}

REMEMBERED_SECONDS = 365 * 86_400.0  # what was said once
KEEP_SECONDS = 30 * 86_400.0  # delivered and given-up messages, for later inspection

# Delivers one message. Rejected: it will never be taken. Any other exception: try again later.
Sender = Callable[[Mapping[str, Any]], None]

_UNSENT = "sent_at IS NULL AND given_up_at IS NULL"


def store(db: sqlite3.Connection, messages: Iterable[Message], redact: Redactor) -> None:
    """Store messages in the caller's transaction, without secrets."""
    now = time.time()
    for message in messages:
        kind = {} if message.kind is None else {"kind": message.kind}
        db.execute(
            "INSERT INTO outbox (channel, body, created_at, not_before) VALUES (?, ?, ?, ?)",
            (message.channel, json.dumps(redact.within({**kind, **asdict(message)})), now, now),
        )


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """One message that was not delivered yet."""

    id: int
    channel: str
    body: Mapping[str, Any]
    created_at: float
    not_before: float
    attempts: int

    @property
    def subject(self) -> tuple[str, str]:
        """What it is about, for whom: such messages are delivered one after another, in order."""
        return self.channel, subject_of(self.body)

    @property
    def is_due(self) -> bool:
        """It may be tried now. What waits for longer than we ever say comes from a clock that has jumped."""
        now = time.time()
        return not now < self.not_before <= now + BACKOFF.longest


class SqliteOutbox:
    """Messages by channel. One that fails delays those about the same thing, and no others."""

    def __init__(self, database: Database, redact: Redactor | None = None) -> None:
        self._database = database
        self._redact = redact or Redactor()

    def put(self, *messages: Message) -> None:
        """Store messages, without secrets; committed when this returns."""
        with self._database.transaction() as db:
            store(db, messages, self._redact)

    def put_once(self, key: str, *messages: Message) -> bool:
        """Store messages unless some were stored under this key in the last year; whether they are new."""
        now = time.time()
        with self._database.transaction() as db:
            db.execute("DELETE FROM published_once WHERE at < ?", (now - REMEMBERED_SECONDS,))
            found = db.execute("INSERT OR IGNORE INTO published_once (key, at) VALUES (?, ?)", (key, now))
            if found.rowcount:
                store(db, messages, self._redact)
            return bool(found.rowcount)

    def deliver_due(self, senders: Mapping[str, Sender]) -> int:
        """Deliver what is due, one message after another; returns how many went out. ``senders`` as in waiting()."""
        sent, blocked = 0, set()
        for message in self.waiting(senders):
            if message.subject in blocked:
                continue
            if not message.is_due:
                blocked.add(message.subject)
                continue
            try:
                senders[message.channel](message.body)
            except Exception as error:  # noqa: BLE001 - whatever a notifier does, outcomes do not change
                if not self.failed(message, error):
                    blocked.add(message.subject)
            else:
                self.delivered(message)
                sent += 1
        return sent

    def waiting(self, senders: Collection[str]) -> list[WaitingMessage]:
        """What was not delivered yet and has a sender, the oldest first.

        A sender is registered for a channel, ``github``, or for one of a channel's destinations, ``notify/ops``: then
        each message of ``notify`` goes to all of them.
        """
        self._fan_out(senders)
        names = sorted(senders)
        found = self._database.connection().execute(
            "SELECT id, channel, body, created_at, not_before, attempts FROM outbox"  # noqa: S608 - only "?"s
            f" WHERE {_UNSENT} AND channel IN ({', '.join('?' * len(names))}) ORDER BY id",
            names,
        )
        return [WaitingMessage(**{**row, "body": json.loads(row["body"])}) for row in found]

    def delivered(self, message: WaitingMessage) -> None:
        """Record that a message was taken."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM outbox WHERE coalesce(sent_at, given_up_at) < ?", (time.time() - KEEP_SECONDS,))
            db.execute(
                "UPDATE outbox SET sent_at = ?, attempts = attempts + 1, error = '' WHERE id = ?",
                (time.time(), message.id),
            )

    def failed(self, message: WaitingMessage, error: Exception) -> bool:
        """Record a failure; whether the message was given up, so that the next about the same has its turn.

        One that was recorded for this attempt before counts, not the one that a late thread adds.
        """
        now = time.time()
        reason = self._redact.line(f"{type(error).__name__}: {error}")[:500]
        asked = error.after if isinstance(error, Retryable) else None  # a rate limit says until when it holds
        wait = BACKOFF.after(message.attempts + 1) if asked is None else min(asked, BACKOFF.longest)
        lasting = LASTING.get(message.channel, GIVE_UP_SECONDS)
        too_old = now - message.created_at > (lasting if isinstance(error, Retryable) else GIVE_UP_SECONDS)
        given_up = isinstance(error, Rejected) or too_old
        log.warning(
            "message %d to %s%s failed, %s: %s",
            message.id,
            message.channel,
            f" ({message.subject[1]})" if message.subject[1] else "",
            "given up" if given_up else f"again in {wait:g} s",
            reason,
        )
        with self._database.transaction() as db:
            db.execute(
                "UPDATE outbox SET attempts = attempts + 1, error = ?, not_before = ?, given_up_at = ?"  # noqa: S608
                f" WHERE id = ? AND attempts = ? AND {_UNSENT}",
                (reason, now + wait, now if given_up else None, message.id, message.attempts),
            )
        return given_up

    def _fan_out(self, senders: Collection[str]) -> None:
        parents = {name.partition("/")[0] for name in senders if "/" in name}
        for parent in parents:
            if not self._has_unsent(parent):
                continue
            with self._database.transaction() as db:
                for channel in (name for name in senders if name.startswith(f"{parent}/")):
                    db.execute(
                        "INSERT INTO outbox (channel, body, created_at, not_before)"  # noqa: S608 - a constant
                        " SELECT ?, body, created_at, not_before FROM outbox"
                        f" WHERE channel = ? AND {_UNSENT} ORDER BY id",
                        (channel, parent),
                    )
                db.execute(f"DELETE FROM outbox WHERE channel = ? AND {_UNSENT}", (parent,))  # noqa: S608 - as above

    def _has_unsent(self, channel: str) -> bool:
        query = f"SELECT 1 FROM outbox WHERE channel = ? AND {_UNSENT} LIMIT 1"  # noqa: S608 - a constant
        return self._database.connection().execute(query, (channel,)).fetchone() is not None
