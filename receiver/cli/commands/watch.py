"""``pinrail watch``: the steps of one slot's deployment as they happen, and how it ends, from the journal alone."""

import time

from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.cli.failure import TimeUp
from receiver.cli.following import POLL_SECONDS, Follower, follower
from receiver.core.deployment import Deployment, Outcome
from receiver.core.errors import Rejected
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.core.times import ago
from receiver.planning.on_record import unknown_slot
from receiver.settings import load_settings
from receiver.wiring import open_database


def watch(slot: Slot, timeout: float) -> bool:
    """Follow the deployment that runs there, or the next one; returns whether it went live.

    One that was interrupted goes on as another, which is followed too. Rejected: no such slot was ever seen. TimeUp:
    none has ended within so many seconds.
    """
    settings = load_settings()
    journal, redact = SqliteJournal(open_database(settings)), Redactor(settings.secrets)
    unknown = unknown_slot(journal, slot.environment, slot.model)
    if unknown is not None:
        raise Rejected(unknown)
    following = follower(journal, settings.pinrail_state_dir, redact, slot)
    _say_what_was_before(following)
    ended = follow(following, time.monotonic() + timeout)
    if ended is None:
        raise TimeUp(f"no deployment of {slot} has ended within {timeout:g} s: see `pinrail status`")
    return ended.state is Outcome.LIVE


def follow(following: Follower, deadline: float, poll_seconds: float = POLL_SECONDS) -> Deployment | None:
    """Follow until a deployment has ended that does not go on as another; None: the deadline has passed."""
    while True:
        for ended in following.ended():
            if ended.state is not Outcome.INTERRUPTED:
                return ended
        if time.monotonic() >= deadline:
            return None
        time.sleep(poll_seconds)


def _say_what_was_before(following: Follower) -> None:
    """Where nothing runs, how the last one ended: it may be the one that is asked about."""
    history = following.journal.history(following.slot)
    last = history[-1] if history else None
    if last is not None and last.ended_at is not None and last.ended_at < following.since:
        when = ago(last.ended_at, following.since)
        following.say(
            f"nothing is being deployed: deployment {last.id} ended {when}, {last.state}; waiting for the next"
        )
