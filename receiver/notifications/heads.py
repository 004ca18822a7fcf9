"""The commit status of a branch head for which nothing was deployed: in sync, not valid, or not known yet.

Each commit that changes an environment's file ends with a status of that environment; where something was deployed,
``progress.py`` describes it. The status published last is recorded with its messages, so a crash loses none and
repeats none.
"""

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from receiver.core.commit_status import PinStatus, PublishedStatus, aggregate, context_of, pin_statuses
from receiver.core.deployment import DRIFT, Outcome
from receiver.core.errors import InvalidPins
from receiver.core.messages import CommitStatus, Message, StatusState
from receiver.core.pins import environment_of, path_of
from receiver.notifications.progress import end_superseded_deployments, end_superseded_statuses, held_at
from receiver.planning.assess import Assessment
from receiver.planning.observe import Observation
from receiver.services import Services

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NextStatus:
    """What to publish for an environment, and what to record as published."""

    published: PublishedStatus
    status: CommitStatus | None = None  # None: the deployments of this commit say it already
    supersedes: CommitStatus | None = None  # ends what an earlier commit waited for


def publish_head(
    services: Services, seen: Observation, assessments: Iterable[Assessment], unsettled: Collection[str] = ()
) -> None:
    """Publish how the pins stand that the head changed, where no deployment does. A bug in here fails nothing else.

    ``unsettled`` are environments in which a deployment is under way: they have their turn later.
    """
    found = [status for assessment in assessments if (status := _pin_status(assessment, heal=services.heal))]
    for environment in seen.desired.environments:
        if environment.name in unsettled:
            continue
        here = [status for status in found if status.slot.environment == environment.name]
        try:
            now = PublishedStatus(seen.snapshot.commit, _digest(seen.snapshot.files[path_of(environment.name)]))
            with services.journal.composing():
                before = services.journal.published().get(environment.name)
                _publish_environment(services, environment.name, before, now, here)
        except Exception:
            log.exception("the status of the pins of %s could not be published", environment.name)


def publish_invalid(services: Services, error: InvalidPins) -> None:
    """Publish a failure for every environment at a head whose pins are not valid: nothing of it is deployed."""
    try:
        published = services.journal.published()
        lines = str(error).split("\n")
        last = services.journal.remembered_pins()
        for name in sorted(set(filter(None, map(environment_of, [*lines, *(last.files if last else ())])))):
            before, now = published.get(name), PublishedStatus(error.commit, _digest(str(error).encode()))
            if now != before:
                own = next((line for line in lines if environment_of(line) == name), lines[0])
                description = f"1 of {len(lines)}: {own}" if len(lines) > 1 else own
                status = CommitStatus(error.commit, context_of(name), "failure", description)
                ended = _superseded(name, before, now)
                services.journal.publish(name, now, [status, *([ended] if ended else [])])
    except Exception:
        log.exception("the status of pins that are not valid could not be published")


def next_status(
    name: str, before: PublishedStatus | None, now: PublishedStatus, found: tuple[StatusState, str], *, covered: bool
) -> NextStatus | None:
    """Decide what to publish for an environment; None: nothing. Pure.

    ``before`` is what was published last, ``now`` describes the head, ``found`` is the state of its pins with a
    description. ``covered``: the deployments of the head's commit have published all of it.

    ======================  ==============  =====================================================
    pins since ``before``   ``before``      publish
    ======================  ==============  =====================================================
    never published                         the head's status
    changed                                 the head's status; end what an earlier commit waits for
    same, another commit    waits           the final state at the commit that waited; else nothing
    same, same commit       waits           the head's status, where it differs
    same                    final           nothing
    ======================  ==============  =====================================================
    """
    state, description = found
    if before is not None and before.pins == now.pins and not before.pending:
        return None
    if before is not None and before.pins == now.pins and before.revision != now.revision:
        if state == "pending":
            return None
        status = CommitStatus(before.revision, context_of(name), state, f"{description} (at {now.revision[:7]})")
        return NextStatus(replace(before, pending=""), status)
    waits = state == "pending" and not covered
    published = replace(now, pending=_digest(description.encode()) if waits else "")
    if published == before:
        return None
    head = CommitStatus(now.revision, context_of(name), state, description)
    return NextStatus(published, None if covered else head, _superseded(name, before, now))


def _publish_environment(
    services: Services, name: str, before: PublishedStatus | None, now: PublishedStatus, found: Sequence[PinStatus]
) -> None:
    if before is not None and before.pins == now.pins and not before.pending:
        return  # the usual case: nothing is asked of the journal
    deployments, held = services.journal.at(now.revision, name), held_at(services, name, now.revision)
    state, description = aggregate(pin_statuses(deployments, held, found))
    deployed = {d.draft.slot for d in deployments if d.draft.cause != DRIFT}
    covered = bool(deployed) and all(s.outcome is Outcome.LIVE or s.slot in deployed for s in found)
    following = next_status(name, before, now, (state, description), covered=covered)
    if following is None:
        return
    messages: list[Message] = [m for m in (following.status, following.supersedes) if m is not None]
    if following.published.revision == now.revision:
        status = CommitStatus(now.revision, context_of(name), state, description)
        messages += _ended_by(services, found, status)
    services.journal.publish(name, following.published, messages)


def _ended_by(services: Services, found: Iterable[PinStatus], status: CommitStatus) -> Iterator[Message]:
    """End the attempts of earlier commits in the slots that are in sync at this one."""
    for pin in found:
        if pin.outcome is Outcome.LIVE:
            yield from end_superseded_statuses(services, pin.slot, pin.version, status)
            yield from end_superseded_deployments(services, pin.slot, status.commit)


def _pin_status(assessment: Assessment, *, heal: bool) -> PinStatus | None:
    """How a pin stands as far as no deployment says it; None where there is no pin, or a restoration says it."""
    slot, version = assessment.slot, assessment.pinned
    if version is None:
        return None
    if assessment.retry is not None:
        return PinStatus(slot, version, Outcome.WAITING, assessment.retry)
    if assessment.hold is not None:
        return PinStatus(slot, version, assessment.hold.state.outcome, assessment.hold.reason)
    if not assessment.actions:
        return PinStatus(slot, version, Outcome.LIVE)
    if not assessment.drift:
        return PinStatus(slot, version, Outcome.WAITING, "another model still has its port")
    drifted = f"PINRAIL_HEAL is off, and this has drifted: {assessment.actions[0]}"
    return None if heal else PinStatus(slot, version, Outcome.WAITING, drifted)


def _superseded(name: str, before: PublishedStatus | None, now: PublishedStatus) -> CommitStatus | None:
    """End what an earlier commit waited for: it does not come any more."""
    if before is None or not before.pending or before.revision == now.revision:
        return None
    return CommitStatus(before.revision, context_of(name), "error", f"followed by {now.revision[:7]}")


def _digest(content: bytes) -> str:
    """Tells one text from another; unlike the text it can be stored, for it holds nothing that was written there."""
    return hashlib.sha256(content).hexdigest()
