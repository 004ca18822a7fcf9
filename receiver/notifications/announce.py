"""What people learn of a deployment. A notification may fail; the outcome stays as it is."""

from collections.abc import Sequence
from dataclasses import replace

from receiver.core.deployment import Deployment, Draft, Outcome
from receiver.core.errors import InvalidPins, Rejected
from receiver.core.messages import Announcement, Message
from receiver.core.plan import Goal
from receiver.core.state import Slot
from receiver.notifications.progress import progress_messages
from receiver.services import Services

_HEADLINES = {
    Outcome.LIVE: "{model} {to} is live in {environment} (was {was})",
    Outcome.ROLLED_BACK: "{model} {to} was rolled back in {environment}; {was} is back",
    Outcome.REFUSED: "{model} {to} was refused for {environment}; {was} stays",
    Outcome.WAITING: "{model} {to} waits for {environment}; {was} stays until then",
    Outcome.INTERRUPTED: "{model} {to} in {environment} was interrupted, and goes on by itself",
    Outcome.NEEDS_HUMAN: "{model} in {environment} NEEDS A HUMAN: neither {to} nor {was} could be reached",
}


_REMOVALS = {
    Outcome.LIVE: "{model} was taken out of {environment} (was {was})",
    Outcome.ROLLED_BACK: "{model} could not be taken out of {environment}; {was} is back",
    Outcome.REFUSED: "{model} is not taken out of {environment}; {was} stays",
    Outcome.WAITING: "{model} waits to be taken out of {environment}; {was} stays until then",
    Outcome.INTERRUPTED: "taking {model} out of {environment} was interrupted, and goes on by itself",
    Outcome.NEEDS_HUMAN: "{model} in {environment} NEEDS A HUMAN: {was} cannot be taken away",
}


def headline(draft: Draft, outcome: Outcome) -> str:
    """One line for a person: what happened where, and what is there now."""
    said = (_HEADLINES if draft.to_version is not None else _REMOVALS)[outcome]
    if outcome is Outcome.NEEDS_HUMAN and draft.to_version is not None and draft.to_version == draft.from_version:
        said = "{model} in {environment} NEEDS A HUMAN: {to} cannot be kept as it should be"
    return said.format(
        model=draft.slot.model,
        environment=draft.slot.environment,
        to=_version(draft.to_version),
        was=_version(draft.from_version),
    )


def outcome_messages(
    services: Services, entry: Deployment, goal: Goal | None, *, with_status: bool = True
) -> Sequence[Message]:
    """What people and GitHub learn of a deployment that ended, or that policy held; ``entry`` is its record."""
    return [announcement(entry), *progress_messages(services, entry, goal, with_status=with_status)]


def interruption_messages(services: Services, left: Deployment, reason: str) -> Sequence[Message]:
    """The message about a deployment whose receiver died; one that was rolling back counts as rolled back."""
    draft = left.draft
    for held in services.journal.quarantined(draft.revision):
        if (held.slot, held.version) == (draft.slot, draft.to_version):
            return outcome_messages(services, replace(left, state=Outcome.ROLLED_BACK, reason=held.reason), None)
    return progress_messages(services, replace(left, state=Outcome.INTERRUPTED, reason=reason), None)


def announcement(entry: Deployment) -> Announcement:
    """The notification about how a deployment ended."""
    draft = entry.draft
    override = f"override: {draft.override}" if draft.override else ""
    lines = [entry.reason, override, f"commit {draft.revision[:12]}, cause: {draft.cause}"]
    return Announcement(headline(draft, entry.state), "\n".join(line for line in lines if line))


def crash_loop(entry: Deployment, times: int, seconds: float) -> Announcement:
    """The notification that a server that was verified ends again and again."""
    what = f"{entry.draft.slot.model} v{entry.draft.to_version} in {entry.draft.slot.environment}"
    return Announcement(
        f"{what} is degraded: it ended {times} times within {seconds / 60:g} minutes",
        "It is started again each time, after a growing pause. Its log says why it ends: `pinrail history`",
    )


def recovery(slot: Slot, version: int | None) -> Announcement:
    """The notification that a server that had ended again and again keeps running."""
    return Announcement(f"{slot.model} v{version} in {slot.environment} is well again", "It has stopped ending.")


def rejection(error: Rejected) -> Announcement:
    """The notification that nothing new can be deployed, because of the pins at the branch head or otherwise."""
    invalid = isinstance(error, InvalidPins)
    title = "The pins are not valid; nothing was changed" if invalid else "Nothing new can be deployed"
    return Announcement(title, str(error))


def _version(version: int | None) -> str:
    return "nothing" if version is None else f"v{version}"
