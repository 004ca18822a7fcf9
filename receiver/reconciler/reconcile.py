"""The flow: make registry and servers match the pins, verify that they do, or roll back.

:func:`reconcile` observes once and goes through the slots, lower environments first. :func:`deploy` carries out the
plan of one slot.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from receiver.core.deployment import DRIFT, Cause, Deployment, Draft, Outcome, Trigger
from receiver.core.errors import ArtifactsChanged, InvalidPins, PinrailError, Retryable
from receiver.core.messages import Message, RevertNeeded
from receiver.core.plan import Purpose
from receiver.core.policy import HoldState
from receiver.core.quarantine import Quarantine
from receiver.core.state import Role, Slot
from receiver.notifications.announce import interruption_messages, outcome_messages
from receiver.notifications.heads import publish_head, publish_invalid
from receiver.notifications.progress import progress_messages
from receiver.planning.assess import Assessment, assess
from receiver.planning.fetch import fetch_and_assess
from receiver.planning.observe import Observation, observe_at, observe_head, refresh
from receiver.reconciler.apply import Run
from receiver.services import Services

log = logging.getLogger(__name__)

UNNUMBERED = 0  # the id of a deployment that the journal has not recorded yet


@dataclass
class Report:
    """What one reconciliation saw and did."""

    seen: Observation
    assessments: list[Assessment] = field(default_factory=list)  # one per slot
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by deployment
    drift: list[str] = field(default_factory=list)  # seen and left alone, because healing is off
    deferred: list[str] = field(default_factory=list)  # what could not be asked or finished, so look again soon
    next_check_at: float = math.inf  # when a hold may end by itself, seconds since the epoch


def reconcile(services: Services, cause: str) -> Report:
    """Observe, assess, plan, apply, verify and record, one slot after another.

    Raises:
        Rejected: the pins at the branch head are not valid; what was verified before them is kept running.
        Retryable: git could not be asked, with the same consequence, or the servers; nothing was touched.
    """
    try:
        report = Report(observe_head(services))
    except PinrailError as error:
        _keep_running(services, cause)
        if isinstance(error, InvalidPins):
            publish_invalid(services, error)
        raise
    services.journal.remember_pins(report.seen.snapshot)
    snapshot = report.seen.snapshot
    requested = Cause(Trigger.REQUEST, f"{cause} (history rewritten)" if snapshot.rewritten else cause)
    for slot in report.seen.slots():
        assessment = fetch_and_assess(services, report.seen, slot)
        report.assessments.append(assessment)
        _note_hold(services, assessment, report)
        if assessment.retry:
            report.deferred.append(assessment.retry)
        if assessment.in_sync:
            continue
        owner = _owner_of_port(report.seen, assessment)
        if owner is not None:
            report.deferred.append(f"{slot} waits for its port, which {owner} has to leave first")
            continue
        if assessment.drift and not services.heal:
            report.drift += [f"{slot}: {action}" for action in assessment.actions]
            continue
        deployment, outcome, reason = deploy(
            services, report.seen, assessment, DRIFT if assessment.drift else requested
        )
        report.outcomes[deployment] = outcome
        if outcome is Outcome.INTERRUPTED:
            report.deferred.append(reason)
        report.seen = refresh(services, report.seen)
    publish_head(services, report.seen, report.assessments)
    report.deferred += [reason for reason in (snapshot.stale, report.seen.registry_down) if reason]
    return report


def _owner_of_port(seen: Observation, assessment: Assessment) -> Slot | None:
    """The slot that still has the port of a promotion: its pin was removed or moved in the same commit."""
    goal = assessment.goal
    spec = goal.spec if goal and goal.purpose is Purpose.PROMOTE else None
    others = (s.spec for s in seen.servers if s.role is not Role.CANDIDATE and s.spec.slot != assessment.slot)
    return next((other.slot for other in others if spec is not None and other.port == spec.port), None)


def _keep_running(services: Services, cause: str) -> None:
    """Restore what was verified, by the last valid pins, and roll back what is in quarantine; deploy nothing new."""
    last_valid = services.journal.remembered_pins()
    if last_valid is None:
        return
    seen = observe_at(services, last_valid)
    for slot in seen.slots():
        assessment = assess(services, seen, slot)
        known = assessment.goal is not None and assessment.goal.verified
        if assessment.actions and known and (services.heal or not assessment.drift):
            deploy(services, seen, assessment, DRIFT if assessment.drift else Cause(Trigger.REQUEST, cause))
            seen = refresh(services, seen)


def deploy(services: Services, seen: Observation, assessment: Assessment, cause: Cause) -> tuple[int, Outcome, str]:
    """Carry out the plan of one slot. However it ends, the end is recorded and published."""
    draft = _draft(seen, assessment, cause)
    before = _last_attempt(services, assessment)
    begun = Deployment(UNNUMBERED, draft, Outcome.RUNNING, "", time.time(), None)
    deployment = services.journal.open(draft, _start_messages(services, begun, assessment, before))
    outcome, reason = Outcome.INTERRUPTED, "the receiver was stopped"
    try:
        outcome, reason = _carry_out(Run(services, deployment), seen, assessment)
    finally:
        repeated = before if before is not None and _repeats(before, draft, assessment, outcome) else None
        ended = replace(begun, id=deployment, state=outcome, reason=reason, ended_at=time.time())
        messages = () if repeated else outcome_messages(services, ended, assessment.goal)
        counted_at = None
        if repeated and repeated.draft.cause == cause == DRIFT and outcome is not Outcome.LIVE:
            counted_at = repeated.id  # a restoration may fail every minute, for weeks
        services.journal.close(deployment, outcome, reason, messages, counted_at)
    log.info("deployment %d: %s v%s %s %s", deployment, assessment.slot, draft.to_version, outcome, reason)
    return deployment, outcome, reason


def close_interrupted(services: Services, reason: str) -> Sequence[Deployment]:
    """Record the end of deployments whose receiver died. The next observation takes over from there."""
    running = services.journal.running()
    for left in running:
        services.journal.close(left.id, Outcome.INTERRUPTED, reason, interruption_messages(services, left, reason))
    return running


def _last_attempt(services: Services, assessment: Assessment) -> Deployment | None:
    """What was last tried in a slot; a pin that policy held back was not."""
    history = services.journal.history(assessment.slot)
    return next((d for d in reversed(history) if d.state not in (Outcome.REFUSED, Outcome.WAITING)), None)


def _repeats(before: Deployment, draft: Draft, assessment: Assessment, outcome: Outcome) -> bool:
    """The deployment ended as the one before, whatever its reason says: times and process ids differ.

    At another commit it counts as new, except for a version that stays live. A version that failed again after a
    retry counts as new too.
    """
    goal = assessment.goal
    if outcome is not Outcome.LIVE and before.draft.revision != draft.revision:
        return False
    if outcome in (Outcome.ROLLED_BACK, Outcome.NEEDS_HUMAN) and goal and goal.purpose is Purpose.PROMOTE:
        return False
    return (before.state, before.draft.to_version) == (outcome, draft.to_version)


def _carry_out(run: Run, seen: Observation, assessment: Assessment) -> tuple[Outcome, str]:
    if assessment.goal is None:
        raise AssertionError(f"{assessment.slot}: actions without a goal")
    try:
        run.apply(assessment.goal, assessment.actions)
    except Retryable as error:
        return Outcome.INTERRUPTED, str(error)
    except Exception as error:
        if isinstance(error, ArtifactsChanged) and assessment.goal.purpose is Purpose.PROMOTE and run.server is None:
            return Outcome.REFUSED, str(error)  # nothing was started or written; what is there now is judged anew
        if not isinstance(error, PinrailError):
            log.exception("deployment %d: a bug, rolling back", run.deployment)
        reason = str(error) or type(error).__name__
        if assessment.goal.purpose is not Purpose.PROMOTE:  # nothing better to go back to: the next look tries again
            return Outcome.NEEDS_HUMAN, reason
        return _roll_back(run, seen, assessment, reason)
    return Outcome.LIVE, ""


def _roll_back(run: Run, seen: Observation, assessment: Assessment, reason: str) -> tuple[Outcome, str]:
    """The same flow, aimed at the last verified state. Quarantine first: a crash from here on must not try again."""
    services, slot = run.services, assessment.slot
    failed = Quarantine(
        slot, assessment.pinned or 0, seen.snapshot.commit, reason, needs_human=False, since=time.time()
    )
    services.journal.quarantine(failed, _revert_needed(assessment, reason))
    try:
        now = refresh(services, seen)
        last_good = assess(services, now, slot)
        if last_good.goal is not None:
            run.apply(last_good.goal, last_good.actions)
    except Retryable as error:
        return Outcome.INTERRUPTED, f"{reason}\nthe rollback goes on at the next look: {error}"
    except Exception as error:
        if not isinstance(error, PinrailError):
            log.exception("deployment %d: a bug during the rollback", run.deployment)
        both = f"{reason}\nthe rollback failed too: {error}"
        services.journal.quarantine(
            Quarantine(slot, failed.version, failed.revision, both, needs_human=True, since=failed.since)
        )
        return Outcome.NEEDS_HUMAN, both
    return Outcome.ROLLED_BACK, reason


def _start_messages(
    services: Services, begun: Deployment, assessment: Assessment, before: Deployment | None
) -> Sequence[Message]:
    """GitHub sees the first attempt start; restorations and repeated attempts are published when they end."""
    draft = begun.draft
    again = (
        before is not None
        and before.state is not Outcome.LIVE
        and (before.draft.revision, before.draft.to_version) == (draft.revision, draft.to_version)
    )
    if assessment.goal is None or assessment.goal.verified or again:
        return ()
    return progress_messages(services, begun, assessment.goal)


def _revert_needed(assessment: Assessment, reason: str) -> Sequence[Message]:
    """Ask for a revert of the pin, where there is a version to go back to."""
    last = assessment.verified.version if assessment.verified else None
    if last is None or assessment.pinned in (None, last):
        return ()
    slot = assessment.slot
    return [RevertNeeded(slot.environment, slot.model, assessment.pinned, last, reason)]


def _note_hold(services: Services, assessment: Assessment, report: Report) -> None:
    """Record a refusal or a wait, once per reason."""
    hold = assessment.hold
    if hold is None or hold.state not in (HoldState.REFUSED, HoldState.WAITING):
        return
    report.next_check_at = min(report.next_check_at, hold.until or math.inf)
    draft = _draft(report.seen, assessment, Cause(Trigger.POLICY), to_version=assessment.pinned)
    if services.journal.is_recorded(draft, hold):  # what there would be to send is not even made
        return
    now = time.time()
    entry = Deployment(UNNUMBERED, draft, hold.state.outcome, hold.reason, now, now)
    recorded = services.journal.hold(draft, hold, outcome_messages(services, entry, None))
    if recorded is not None:
        report.outcomes[recorded] = hold.state.outcome


def _draft(seen: Observation, assessment: Assessment, cause: Cause, to_version: int | None = None) -> Draft:
    spec = assessment.goal.spec if assessment.goal else None
    verified = assessment.verified
    return Draft(
        slot=assessment.slot,
        from_version=verified.version if verified else None,
        to_version=to_version if to_version is not None else (spec.version if spec else None),
        digest=spec.digest if spec else None,
        revision=seen.snapshot.commit,
        cause=cause,
        override=assessment.override,
        plan=tuple(assessment.actions),
    )
