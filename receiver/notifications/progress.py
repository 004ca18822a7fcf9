"""What GitHub is told while a commit's pins become true: commit statuses and deployments, put into the outbox.

Statuses say how a commit's pins stand, one per environment; deployments say what is served where. All of it is read
from the journal in the transaction that changes it, so nothing is told that a crash could make untrue, or lost.
"""

import logging
import sqlite3
from collections.abc import Iterator
from typing import Any

from receiver.adapters.github.sender import CHANNEL, DeploymentUpdate, deployment_message, status_message
from receiver.adapters.github.statuses import CommitStatus, DeploymentOf, DeploymentState
from receiver.adapters.sqlite.journal import WriteMessages
from receiver.core.commit_status import DRIFT, PinStatus, aggregate, pin_statuses, superseded
from receiver.core.deployment import Draft, Outcome
from receiver.core.plan import Goal
from receiver.core.state import Slot
from receiver.services import Services

log = logging.getLogger(__name__)

_DEPLOYMENTS: dict[Outcome, DeploymentState] = {
    Outcome.RUNNING: "in_progress",
    Outcome.LIVE: "success",
    Outcome.WAITING: "queued",
    Outcome.INTERRUPTED: "queued",
    Outcome.REFUSED: "failure",
    Outcome.ROLLED_BACK: "failure",
    Outcome.NEEDS_HUMAN: "error",
}


def progress_messages(
    services: Services, draft: Draft, goal: Goal | None, outcome: Outcome, reason: str = ""
) -> WriteMessages:
    """Put the news of one deployment into the outbox, in the transaction that records it.

    ``goal`` is what was deployed, None where nothing was. A bug in here changes no outcome.
    """

    def write_messages(db: sqlite3.Connection) -> None:
        try:
            messages = [*_statuses(services, draft), *_deployments(services, draft, goal, outcome, reason)]
        except Exception:
            log.exception("a bug: %s cannot be told to GitHub", draft.slot)
            return
        for message in messages:
            services.outbox.put(CHANNEL, message, db)

    return write_messages


def context_of(environment: str) -> str:
    """The name of an environment's commit status."""
    return f"pinrail/{environment}"


def held_at(services: Services, environment: str, revision: str) -> dict[Slot, PinStatus]:
    """What failed in an environment at a commit and is not tried again there."""
    return {
        q.slot: PinStatus(q.slot, q.version, Outcome.NEEDS_HUMAN if q.needs_human else Outcome.ROLLED_BACK, q.reason)
        for q in reversed(services.journal.quarantined(revision))
        if q.slot.environment == environment
    }


def end_superseded_statuses(
    services: Services, slot: Slot, pinned: int | None, now: CommitStatus
) -> Iterator[dict[str, Any]]:
    """Tell at the commits whose attempts were not finished how they ended: ``now`` is what stands in their place."""
    later = now.commit[:7]
    for left in superseded(services.journal.history(slot), now.commit):
        if left.draft.to_version != pinned:
            over = f"{slot.model}: followed by {later}"
            yield status_message(CommitStatus(left.draft.revision, now.context, "error", over))
        elif now.state != "pending":
            so = f"{now.description} (at {later})"
            yield status_message(CommitStatus(left.draft.revision, now.context, now.state, so))


def _statuses(services: Services, draft: Draft) -> Iterator[dict[str, Any]]:
    slot, revision = draft.slot, draft.revision
    held = held_at(services, slot.environment, revision)
    state, description = aggregate(pin_statuses(services.journal.at(revision, slot.environment), held))
    reported = CommitStatus(revision, context_of(slot.environment), state, description)
    yield status_message(reported)
    yield from end_superseded_statuses(
        services, slot, held[slot].version if slot in held else draft.to_version, reported
    )


def _deployments(
    services: Services, draft: Draft, goal: Goal | None, outcome: Outcome, reason: str
) -> Iterator[dict[str, Any]]:
    slot = draft.slot
    spec = goal.spec if goal else None
    held = held_at(services, slot.environment, draft.revision).get(slot)
    if held is not None:
        yield _deployment_update(slot, draft.revision, held)
    at = spec.revision if spec and goal and goal.verified else draft.revision
    status = PinStatus(slot, draft.to_version, outcome, reason)
    if held is None or at != draft.revision:  # else the deployment of this commit is the one that is held
        url = f"http://{services.host}:{spec.port}" if spec and outcome is Outcome.LIVE else None
        yield _deployment_update(slot, at, status, url)
    yield from end_superseded_deployments(services, slot, draft.revision)


def end_superseded_deployments(services: Services, slot: Slot, revision: str) -> Iterator[dict[str, Any]]:
    """End the deployment of the attempt that a commit takes over from; healing is none of its own."""
    attempts = [d for d in superseded(services.journal.history(slot), revision) if d.draft.cause != DRIFT]
    for left in attempts[:1]:  # it ended those before itself
        of = _of(slot, left.draft.revision, left.draft.to_version)
        yield deployment_message(DeploymentUpdate(of, "inactive", f"followed by {revision[:7]}"))


def _deployment_update(slot: Slot, revision: str, status: PinStatus, url: str | None = None) -> dict[str, Any]:
    gone = status.version is None and status.outcome is Outcome.LIVE
    state: DeploymentState = "inactive" if gone else _DEPLOYMENTS[status.outcome]
    of = _of(slot, revision, status.version)
    return deployment_message(DeploymentUpdate(of, state, str(status), url, ends_others=gone))


def _of(slot: Slot, revision: str, version: int | None) -> DeploymentOf:
    what = slot.model if version is None else f"{slot.model} v{version}"
    production = slot.environment == "production"
    return DeploymentOf(revision, slot.environment, f"deploy:{slot.model}", what, production=production)
