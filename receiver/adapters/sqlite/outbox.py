"""Messages to GitHub and chats: kept until they are delivered, in order, at least once.

Delivery is separate from deployment. A deployment stores its messages here and continues. A receiver that dies
delivers them after its restart. A destination that is down is tried again at growing intervals.
"""

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from receiver.adapters.sqlite.database import Database
from receiver.core.backoff import Backoff
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import GITHUB, Message
from receiver.core.redact import Redactor

log = logging.getLogger(__name__)

BACKOFF = Backoff(first=5.0, longest=3600.0)
GIVE_UP_SECONDS = 24 * 3600.0  # older messages mislead more than they help
# Except where a message stays visible: a commit must not be pending for ever because a token had expired.
LASTING = {GITHUB: 14 * 86_400.0}

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


class SqliteOutbox:
    """Messages by channel; each channel is delivered in order and does not wait for another."""

    def __init__(self, database: Database, redact: Redactor | None = None) -> None:
        self._database = database
        self._redact = redact or Redactor()

    def put(self, *messages: Message) -> None:
        """Store messages, without secrets; committed when this returns."""
        with self._database.transaction() as db:
            store(db, messages, self._redact)

    def deliver_due(self, senders: Mapping[str, Sender]) -> int:
        """Deliver what is due, as far as there is a sender for it; returns how many messages went out.

        A sender is registered for a channel, ``github``, or for one of a channel's destinations, ``notify/ops``: then
        each message of ``notify`` goes to all of them, and one that fails keeps none of the others waiting.
        """
        self._fan_out(senders)
        return sum(self._deliver_channel(channel, sender) for channel, sender in senders.items())

    def _fan_out(self, senders: Mapping[str, Sender]) -> None:
        parents = {name.partition("/")[0] for name in senders if "/" in name}
        for parent in parents:
            if not self._unsent(parent):
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

    def _deliver_channel(self, channel: str, sender: Sender) -> int:
        sent = 0
        for message in self._unsent(channel):
            now = time.time()
            if now < message["not_before"] <= now + BACKOFF.longest:  # farther ahead: the clock has jumped
                break
            try:
                sender(json.loads(message["body"]))
            except Exception as error:  # noqa: BLE001 - whatever a notifier does, outcomes do not change
                if not self._failed(message, error):
                    break
            else:
                self._mark(message, "sent_at = ?, attempts = attempts + 1, error = ''", (time.time(),))
                sent += 1
        return sent

    def _failed(self, message: sqlite3.Row, error: Exception) -> bool:
        """Record a failure; whether the message was given up, so that the next one has its turn."""
        now = time.time()
        reason = self._redact.line(f"{type(error).__name__}: {error}")[:500]
        asked = error.after if isinstance(error, Retryable) else None  # a rate limit says until when it holds
        wait = BACKOFF.after(message["attempts"] + 1) if asked is None else min(asked, BACKOFF.longest)
        lasting = LASTING.get(message["channel"], GIVE_UP_SECONDS)
        too_old = now - message["created_at"] > (lasting if isinstance(error, Retryable) else GIVE_UP_SECONDS)
        given_up = isinstance(error, Rejected) or too_old
        log.warning(
            "message %d to %s failed, %s: %s",
            message["id"],
            message["channel"],
            "given up" if given_up else f"again in {wait:g} s",
            reason,
        )
        self._mark(
            message,
            "attempts = attempts + 1, error = ?, not_before = ?, given_up_at = ?",
            (reason, now + wait, now if given_up else None),
        )
        return given_up

    def _unsent(self, channel: str) -> list[sqlite3.Row]:
        return (
            self._database.connection()
            .execute(f"SELECT * FROM outbox WHERE channel = ? AND {_UNSENT} ORDER BY id", (channel,))  # noqa: S608
            .fetchall()
        )

    def _mark(self, message: sqlite3.Row, changes: str, values: tuple[object, ...]) -> None:
        with self._database.transaction() as db:
            db.execute("DELETE FROM outbox WHERE coalesce(sent_at, given_up_at) < ?", (time.time() - KEEP_SECONDS,))
            db.execute(f"UPDATE outbox SET {changes} WHERE id = ?", (*values, message["id"]))  # noqa: S608 - as above
