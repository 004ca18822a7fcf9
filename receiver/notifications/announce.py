"""What people are told about a deployment, put into the outbox. Telling may fail; the outcome stays as it is."""

import sqlite3

from receiver.adapters.sqlite.journal import WriteMessages
from receiver.adapters.sqlite.outbox import Outbox
from receiver.core.deployment import Deployment, Draft, Outcome
from receiver.core.errors import InvalidPins, Rejected
from receiver.core.plan import Goal
from receiver.notifications.progress import progress_messages
from receiver.services import Services

NOTIFY = "notify"

_HEADLINES = {
    Outcome.LIVE: "{model} {to} is live in {environment} (was {was})",
    Outcome.ROLLED_BACK: "{model} {to} was rolled back in {environment}; {was} is back",
    Outcome.REFUSED: "{model} {to} was refused for {environment}; {was} stays",
    Outcome.WAITING: "{model} {to} waits for {environment}; {was} stays until then",
    Outcome.INTERRUPTED: "{model} {to} in {environment} was interrupted; the next look takes over",
    Outcome.NEEDS_HUMAN: "{model} in {environment} NEEDS A HUMAN: neither {to} nor {was} could be reached",
}


def headline(draft: Draft, outcome: Outcome) -> str:
    """One line for a person: what happened where, and what is there now."""
    said = _HEADLINES[outcome]
    if outcome is Outcome.NEEDS_HUMAN and draft.to_version == draft.from_version:
        said = "{model} in {environment} NEEDS A HUMAN: {to} cannot be kept as it should be"
    elif outcome is Outcome.NEEDS_HUMAN and draft.to_version is None:
        said = "{model} in {environment} NEEDS A HUMAN: {was} cannot be taken away"
    return said.format(
        model=draft.slot.model,
        environment=draft.slot.environment,
        to=_version(draft.to_version),
        was=_version(draft.from_version),
    )


def outcome_messages(
    services: Services, draft: Draft, goal: Goal | None, outcome: Outcome, reason: str
) -> WriteMessages:
    """Put what people and GitHub are told of a deployment into the outbox, together with its entry in the journal."""
    progress = progress_messages(services, draft, goal, outcome, reason)

    def write_messages(db: sqlite3.Connection) -> None:
        announce(services.outbox, draft, outcome, reason, db)
        progress(db)

    return write_messages


def interruption_messages(services: Services, left: Deployment, reason: str) -> WriteMessages:
    """Tell of a deployment that its receiver did not live to end; of one that it was putting back, that it failed."""
    draft = left.draft
    for held in services.journal.quarantined(draft.revision):
        if (held.slot, held.version) == (draft.slot, draft.to_version):
            return outcome_messages(services, draft, None, Outcome.ROLLED_BACK, held.reason)
    return progress_messages(services, draft, None, Outcome.INTERRUPTED, reason)


def announce(
    outbox: Outbox, draft: Draft, outcome: Outcome, reason: str, db: sqlite3.Connection | None = None
) -> None:
    """Tell people how a deployment ended."""
    override = f"override: {draft.override}" if draft.override else ""
    lines = [headline(draft, outcome), reason, override, f"commit {draft.revision[:12]}, cause: {draft.cause}"]
    outbox.put(NOTIFY, {"title": lines[0], "text": "\n".join(line for line in lines[1:] if line)}, db)


def announce_rejection(outbox: Outbox, error: Rejected) -> None:
    """Tell that nothing new can be deployed: for the pins at the branch head, or whatever else has to be changed."""
    invalid = isinstance(error, InvalidPins)
    title = "The pins are not valid; nothing was changed" if invalid else "Nothing new can be deployed"
    outbox.put(NOTIFY, {"title": title, "text": str(error)})


def _version(version: int | None) -> str:
    return "nothing" if version is None else f"v{version}"
