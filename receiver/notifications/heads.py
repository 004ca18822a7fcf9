"""The commit status of a branch head for which nothing was deployed: in sync, not valid, or not to be judged yet.

Each commit that changes an environment's file ends with a status of that environment; where something was deployed,
``progress.py`` has told it. What was told last is kept, so a crash loses nothing, and nothing is told twice.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from receiver.adapters.github.sender import CHANNEL, status_message
from receiver.adapters.github.statuses import CommitStatus
from receiver.adapters.sqlite.journal import PublishedStatus
from receiver.core.commit_status import DRIFT, PinStatus, aggregate, pin_statuses
from receiver.core.deployment import Outcome
from receiver.core.errors import InvalidPins
from receiver.core.pins import environment_of, path_of
from receiver.notifications.progress import context_of, end_superseded_deployments, end_superseded_statuses, held_at
from receiver.planning.assess import Assessment
from receiver.planning.observe import Observation
from receiver.services import Services

log = logging.getLogger(__name__)

Message = dict[str, Any]


def publish_head(services: Services, seen: Observation, assessments: Iterable[Assessment]) -> None:
    """Tell how the pins stand that the head changed, where no deployment tells it. A bug in here fails nothing."""
    try:
        published = services.journal.published()
        found = [status for assessment in assessments if (status := _pin_status(assessment, heal=services.heal))]
        for environment in seen.desired.environments:
            before = published.get(environment.name)
            now = PublishedStatus(seen.snapshot.commit, _digest(seen.snapshot.files[path_of(environment.name)]))
            if before is None or before.pins != now.pins or before.pending:
                here = [status for status in found if status.slot.environment == environment.name]
                _publish_environment(services, environment.name, before, now, here)
    except Exception:
        log.exception("how the pins stand could not be told to GitHub")


def publish_invalid(services: Services, error: InvalidPins) -> None:
    """Tell every environment's status at a head whose pins are not valid: nothing of it is deployed."""
    try:
        published = services.journal.published()
        lines = str(error).split("\n")
        last = services.journal.remembered_pins()
        for name in sorted(set(filter(None, map(environment_of, [*lines, *(last.files if last else ())])))):
            before, now = published.get(name), PublishedStatus(error.commit, _digest(str(error).encode()))
            if now != before:
                own = next((line for line in lines if environment_of(line) == name), lines[0])
                said = f"1 of {len(lines)}: {own}" if len(lines) > 1 else own
                status = CommitStatus(error.commit, context_of(name), "failure", said)
                _put(services, name, now, [status_message(status), *_superseded(name, before, now)])
    except Exception:
        log.exception("that the pins are not valid could not be told to GitHub")


def _pin_status(assessment: Assessment, *, heal: bool) -> PinStatus | None:
    """How a pin stands as far as no deployment says it; None where there is no pin, or healing says it."""
    slot, version = assessment.slot, assessment.pinned
    if version is None:
        return None
    if assessment.retry is not None:
        return PinStatus(slot, version, Outcome.WAITING, assessment.retry)
    if assessment.hold is not None:
        return PinStatus(slot, version, assessment.hold.state, assessment.hold.reason)
    if not assessment.actions:
        return PinStatus(slot, version, Outcome.LIVE)
    if not assessment.drift:
        return PinStatus(slot, version, Outcome.WAITING, "another model still has its port")
    drifted = f"PINRAIL_HEAL is off, and this is otherwise: {assessment.actions[0]}"
    return None if heal else PinStatus(slot, version, Outcome.WAITING, drifted)


def _publish_environment(
    services: Services, name: str, before: PublishedStatus | None, now: PublishedStatus, found: Sequence[PinStatus]
) -> None:
    """Tell of one environment at ``now``'s commit or, where only a wait has ended, at the commit that waited."""
    deployments, held = services.journal.at(now.revision, name), held_at(services, name, now.revision)
    state, said = aggregate(pin_statuses(deployments, held, found))
    spoken = {d.draft.slot for d in deployments if d.draft.cause != DRIFT}
    complete = spoken and all(s.outcome is Outcome.LIVE or s.slot in spoken for s in found)
    if before is not None and before.pins == now.pins and before.revision != now.revision:
        if state == "pending":
            return
        commit_status = CommitStatus(before.revision, context_of(name), state, f"{said} (at {now.revision[:7]})")
        _put(services, name, replace(before, pending=""), [status_message(commit_status)])
        return
    commit_status = CommitStatus(now.revision, context_of(name), state, said)
    messages = [] if complete else [status_message(commit_status)]
    messages += _superseded(name, before, now)
    for status in found:
        if status.outcome is Outcome.LIVE:
            messages += end_superseded_statuses(services, status.slot, status.version, commit_status)
            messages += end_superseded_deployments(services, status.slot, now.revision)
    now = replace(now, pending=_digest(said.encode()) if state == "pending" and not complete else "")
    if now != before:
        _put(services, name, now, messages)


def _superseded(name: str, before: PublishedStatus | None, now: PublishedStatus) -> Iterator[Message]:
    """What an earlier commit waited for does not come any more."""
    if before is not None and before.pending and before.revision != now.revision:
        commit_status = CommitStatus(before.revision, context_of(name), "error", f"followed by {now.revision[:7]}")
        yield status_message(commit_status)


def _put(services: Services, name: str, now: PublishedStatus, messages: Iterable[Message]) -> None:
    def put(db: sqlite3.Connection) -> None:
        for message in messages:
            services.outbox.put(CHANNEL, message, db)

    services.journal.publish(name, now, put)


def _digest(content: bytes) -> str:
    """What tells one text from another and, unlike the text, can be kept: nobody vouches for what is in it."""
    return hashlib.sha256(content).hexdigest()
