"""Commit statuses and deployments while a commit is deployed.

A status says how a commit's pins stand in one environment; a deployment says what is served where. Both are computed
from the journal and the entry that is about to be written, and are stored with that entry, in one transaction.
"""

import logging
from collections.abc import Iterator, Sequence

from receiver.core.commit_status import PinStatus, aggregate, context_of, pin_statuses, superseded
from receiver.core.deployment import DRIFT, Deployment, Outcome, with_entry
from receiver.core.messages import CommitStatus, DeploymentOf, DeploymentState, DeploymentUpdate, Message
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
    services: Services, entry: Deployment, goal: Goal | None, *, with_status: bool = True
) -> Sequence[Message]:
    """The messages about one deployment, as its record ``entry`` will be written.

    ``goal`` is what was deployed, None where nothing was. Without the commit's status, a later entry has that. A bug
    in here changes no outcome.
    """
    try:
        return [*(_statuses(services, entry) if with_status else ()), *_deployments(services, entry, goal)]
    except Exception:
        log.exception("a bug: the progress of %s could not be described for GitHub", entry.draft.slot)
        return ()


def held_at(services: Services, environment: str, revision: str) -> dict[Slot, PinStatus]:
    """What failed in an environment at a commit and is not tried again there."""
    return {
        q.slot: PinStatus(q.slot, q.version, Outcome.NEEDS_HUMAN if q.needs_human else Outcome.ROLLED_BACK, q.reason)
        for q in reversed(services.journal.quarantined(revision))
        if q.slot.environment == environment
    }


def end_superseded_statuses(
    services: Services, slot: Slot, pinned: int | None, now: CommitStatus
) -> Iterator[Message]:
    """End the statuses of earlier commits whose attempts were not finished: ``now`` takes their place."""
    later = now.commit[:7]
    for left in superseded(services.journal.history(slot), now.commit):
        if left.draft.to_version != pinned:
            over = f"{slot.model}: followed by {later}"
            yield CommitStatus(left.draft.revision, now.context, "error", over)
        elif now.state != "pending":
            so = f"{now.description} (at {later})"
            yield CommitStatus(left.draft.revision, now.context, now.state, so)


def _statuses(services: Services, entry: Deployment) -> Iterator[Message]:
    draft, slot, revision = entry.draft, entry.draft.slot, entry.draft.revision
    held = held_at(services, slot.environment, revision)
    deployments = with_entry(services.journal.at(revision, slot.environment), entry)
    state, description = aggregate(pin_statuses(deployments, held))
    status = CommitStatus(revision, context_of(slot.environment), state, description)
    yield status
    pinned = held[slot].version if slot in held else draft.to_version
    yield from end_superseded_statuses(services, slot, pinned, status)


def _deployments(services: Services, entry: Deployment, goal: Goal | None) -> Iterator[Message]:
    draft, slot, outcome = entry.draft, entry.draft.slot, entry.state
    spec = goal.spec if goal else None
    held = held_at(services, slot.environment, draft.revision).get(slot)
    if held is not None:
        yield _update(slot, draft.revision, held)
    at = spec.revision if spec and goal and goal.verified else draft.revision
    status = PinStatus(slot, draft.to_version, outcome, entry.reason)
    if held is None or at != draft.revision:  # else the deployment of this commit is the one that is held
        url = f"http://{services.host}:{spec.port}" if spec and outcome is Outcome.LIVE else None
        yield _update(slot, at, status, url)
    yield from end_superseded_deployments(services, slot, draft.revision)


def end_superseded_deployments(services: Services, slot: Slot, revision: str) -> Iterator[Message]:
    """End the deployment of the attempt that a commit takes over from; healing is none of its own."""
    attempts = [d for d in superseded(services.journal.history(slot), revision) if d.draft.cause != DRIFT]
    for left in attempts[:1]:  # it ended those before itself
        of = _of(slot, left.draft.revision, left.draft.to_version)
        yield DeploymentUpdate(of, "inactive", f"followed by {revision[:7]}")


def _update(slot: Slot, revision: str, status: PinStatus, url: str | None = None) -> Message:
    gone = status.version is None and status.outcome is Outcome.LIVE
    state: DeploymentState = "inactive" if gone else _DEPLOYMENTS[status.outcome]
    of = _of(slot, revision, status.version)
    return DeploymentUpdate(of, state, str(status), url, ends_others=gone)


def _of(slot: Slot, revision: str, version: int | None) -> DeploymentOf:
    what = slot.model if version is None else f"{slot.model} v{version}"
    production = slot.environment == "production"
    return DeploymentOf(revision, slot.environment, f"deploy:{slot.model}", what, production=production)
