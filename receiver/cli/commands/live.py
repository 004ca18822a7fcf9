"""``pinrail live``: which versions were verified live at a time, from the journal alone."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.cli.output import answer
from receiver.cli.tables import table, version
from receiver.core.deployment import verified_at
from receiver.core.errors import Rejected
from receiver.core.times import iso, local
from receiver.settings import load_settings
from receiver.wiring import open_database


@dataclass(frozen=True, slots=True)
class SlotLiveView:
    """What was verified live in one slot."""

    environment: str
    model: str
    version: int
    since: str
    """ISO 8601, UTC."""
    commit: str
    """The commit that pinned it."""
    digest: str | None
    """Of the model's files."""


@dataclass(frozen=True, slots=True)
class LiveView:
    """What was verified live at a time: ``pinrail live --json``."""

    at: str
    """ISO 8601, local time with its offset."""
    live: Sequence[SlotLiveView]


def show_live(at: datetime | None, *, as_json: bool) -> None:
    """Print what was verified live at a time, or now. Rejected: the time is in the future, or out of range."""
    when = _past(at)
    journal = SqliteJournal(open_database(load_settings()))
    slots = sorted({deployment.draft.slot for deployment in journal.recent(sys.maxsize)})
    found = [(slot, verified_at(journal.history(slot), when.timestamp())) for slot in slots]
    live = [
        SlotLiveView(slot.environment, slot.model, was.version, iso(was.at), was.revision, was.digest)
        for slot, was in found
        if was is not None and was.version is not None
    ]
    answer(LiveView(when.isoformat(), live), lambda view: _text(view, when, journal.place), json_wanted=as_json)


def _past(at: datetime | None) -> datetime:
    now = datetime.now(UTC)
    try:
        when = (at or now).astimezone()
    except (ValueError, OverflowError) as error:  # the years 1 and 9999, where the clock here is not UTC's
        raise Rejected(f"--at: {at} is too long ago or too far away: give a time that has passed") from error
    if when > now:
        raise Rejected(f"--at: {when.isoformat(timespec='seconds')} is still to come: give a time that has passed")
    return when


def _text(view: LiveView, when: datetime, place: str) -> str:
    return f"verified live at {when.isoformat(timespec='seconds')}\n" + table(
        ("environment", "model", "version", "since", "commit"),
        [
            (slot.environment, slot.model, version(slot.version), local(slot.since), slot.commit[:7])
            for slot in view.live
        ],
        empty=f"nothing, as far as is on record in {place}",
    )
