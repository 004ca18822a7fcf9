"""The flow of one slot: make registry and servers match the pin, verify that they do, or roll back.

:func:`reconcile_slot` decides and acts; :func:`deploy` carries out a plan. ``controller.py`` runs slots side by side.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from receiver.core.deployment import (
    CRASH_LOOP,
    CRASH_WINDOW_SECONDS,
    DRIFT,
    Cause,
    Deployment,
    Draft,
    Outcome,
    Trigger,
    restarts,
)
from receiver.core.errors import (
    ArtifactsChanged,
    Interrupted,
    InvalidPins,
    PinrailError,
    Rejected,
    Retryable,
    VersionFailed,
)
from receiver.core.messages import Message, RevertNeeded
from receiver.core.plan import ActionKind, Goal, Purpose, plan
from receiver.core.policy import HoldState
from receiver.core.quarantine import Quarantine, terms_of
from receiver.core.state import Role, Slot
from receiver.notifications.announce import crash_loop, interruption_messages, outcome_messages
from receiver.notifications.heads import publish_head, publish_invalid
from receiver.notifications.progress import progress_messages
from receiver.planning.assess import Assessment, assess
from receiver.planning.fetch import fetch_and_assess
from receiver.planning.observe import Observation, observe_at, observe_head, observe_servers, refresh
from receiver.ports import Stop, never
from receiver.reconciler.apply import Run
from receiver.services import Services

log = logging.getLogger(__name__)

UNNUMBERED = 0  # the id of a deployment that the journal has not recorded yet
TRAFFIC = (ActionKind.START, ActionKind.PROVE, ActionKind.SWITCH)
REGISTRY = (ActionKind.STAGE, ActionKind.ALIAS)
_GIVES_WAY = (Retryable, Interrupted, OSError)  # nothing that the version did: the next turn goes on


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What surrounds the deployment of a slot."""

    cause: Cause
    stop: Stop = never  # raises Interrupted where the deployment is to give way
    claimed: Callable[[], Collection[int]] = tuple  # versions that other slots are deployed with at this moment
    down_since: float | None = None  # when the slot's live server was last seen, if it is gone


@dataclass(frozen=True, slots=True)
class SlotResult:
    """What was decided about a slot, and what came of it."""

    assessment: Assessment
    deployment: int | None = None  # None: nothing was recorded
    outcome: Outcome | None = None
    reason: str = ""
    undone: bool = False  # it has to begin anew, once the reason is gone


@dataclass
class Report:
    """What one pass over all slots saw and did."""

    seen: Observation
    assessments: list[Assessment] = field(default_factory=list)  # one per slot
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by deployment
    drift: list[str] = field(default_factory=list)  # seen and left alone, because healing is off
    deferred: list[str] = field(default_factory=list)  # what could not be asked or finished, so look again soon
    next_check_at: float = math.inf  # when a hold may end by itself, seconds since the epoch


def reconcile(services: Services, cause: str) -> Report:
    """One pass over all slots, one after another, lower environments first.

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
    release_changed(services, report.seen)
    report.seen = replace(report.seen, quarantined=services.journal.quarantined())
    snapshot = report.seen.snapshot
    requested = Cause(Trigger.REQUEST, f"{cause} (history rewritten)" if snapshot.rewritten else cause)
    for slot in report.seen.slots():
        assessment = fetch_and_assess(services, report.seen, slot)
        report.assessments.append(assessment)
        if assessment.hold is not None:
            report.next_check_at = min(report.next_check_at, assessment.hold.until or math.inf)
        if assessment.retry:
            report.deferred.append(assessment.retry)
        owner = owner_of_port(report.seen, assessment)
        if owner is not None:
            report.deferred.append(f"{slot} waits for its port, which {owner} has to leave first")
            continue
        if assessment.drift and not services.heal:
            report.drift += [f"{slot}: {action}" for action in assessment.actions]
            continue
        result = carry_out(services, report.seen, assessment, Circumstances(requested))
        if result.deployment is None or result.outcome is None:
            continue
        report.outcomes[result.deployment] = result.outcome
        if result.outcome is Outcome.INTERRUPTED:
            report.deferred.append(result.reason)
        report.seen = refresh(services, report.seen)
    publish_head(services, report.seen, report.assessments)
    report.deferred += [reason for reason in (snapshot.stale, report.seen.registry_down) if reason]
    return report


def reconcile_slot(services: Services, seen: Observation, slot: Slot, around: Circumstances) -> SlotResult:
    """Fetch what has to be judged, decide, and do it. ``seen`` has what the registry says about the slot's model."""
    return carry_out(services, seen, fetch_and_assess(services, seen, slot), around)


def carry_out(services: Services, seen: Observation, assessment: Assessment, around: Circumstances) -> SlotResult:
    """Record a hold, or deploy; nothing where the slot is in sync."""
    noted = note_hold(services, seen, assessment)
    if not assessment.in_sync:
        return deploy(services, seen, assessment, around)
    if noted is not None and assessment.hold is not None:
        return SlotResult(assessment, noted, assessment.hold.state.outcome, assessment.hold.reason)
    return SlotResult(assessment)


def owner_of_port(seen: Observation, assessment: Assessment) -> Slot | None:
    """The slot that still has the port of a promotion: its pin was removed or moved in the same commit."""
    goal = assessment.goal
    spec = goal.spec if goal and goal.purpose in (Purpose.PROMOTE, Purpose.CHANGE) else None
    others = (s.spec for s in seen.servers if s.role is not Role.CANDIDATE and s.spec.slot != assessment.slot)
    return next((other.slot for other in others if spec is not None and other.port == spec.port), None)


def release_changed(services: Services, seen: Observation) -> None:
    """Release what was in quarantine in slots whose pin was changed since."""
    for slot in {entry.slot for entry in seen.quarantined}:
        for entry in seen.lifted(slot):
            services.journal.release(entry)


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
            deploy(services, seen, assessment, Circumstances(Cause(Trigger.REQUEST, cause)))
            seen = refresh(services, seen)


def roll_back_alone(services: Services, slot: Slot) -> SlotResult:
    """Roll one slot back where no receiver runs, by the last valid pins. Rejected: there are none yet."""
    last_valid = services.journal.remembered_pins()
    if last_valid is None:
        raise Rejected("no receiver has looked at the branch yet: `pinrail up` starts it")
    for left in close_interrupted(services, "no receiver was running"):
        log.warning("deployment %d of %s was interrupted", left.id, left.draft.slot)
    seen = observe_at(services, last_valid)
    return carry_out(services, seen, assess(services, seen, slot), Circumstances(Cause(Trigger.REQUEST, "rollback")))


def deploy(services: Services, seen: Observation, assessment: Assessment, around: Circumstances) -> SlotResult:
    """Carry out the plan of one slot. However it ends, the end is recorded and published."""
    cause = DRIFT if assessment.drift else around.cause
    draft = _draft(seen, assessment, cause, around.down_since)
    before = _last_attempt(services, assessment)
    begun = Deployment(UNNUMBERED, draft, Outcome.RUNNING, "", time.time(), None)
    with services.journal.composing():
        deployment = services.journal.open(draft, _start_messages(services, begun, assessment, before))
    outcome, reason = Outcome.INTERRUPTED, "the receiver was stopped"
    run = Run(services, deployment, around.stop, around.claimed)
    try:
        outcome, reason = _carry_out(run, seen, assessment)
    finally:
        repeated = before if before is not None and _repeats(before, draft, assessment, outcome) else None
        ended = replace(begun, id=deployment, state=outcome, reason=reason, ended_at=time.time())
        counted_at = None
        if repeated and repeated.draft.cause == cause and outcome is not Outcome.LIVE:
            counted_at = repeated.id  # a restoration may fail every minute, for weeks
        with services.journal.composing():
            repeats = _loop_messages(services, ended) if repeated else None
            messages = outcome_messages(services, ended, assessment.goal) if repeats is None else repeats
            services.journal.close(deployment, outcome, reason, messages, counted_at)
    log.info("deployment %d: %s v%s %s %s", deployment, assessment.slot, draft.to_version, outcome, reason)
    return SlotResult(assessment, deployment, outcome, reason, run.undone)


def close_interrupted(services: Services, reason: str, busy: Collection[Slot] = ()) -> Sequence[Deployment]:
    """Record the end of deployments whose receiver died, apart from slots that are at work.

    The next observation takes over from there.
    """
    left = [deployment for deployment in services.journal.running() if deployment.draft.slot not in busy]
    for entry in left:
        with services.journal.composing():
            messages = interruption_messages(services, entry, reason)
            services.journal.close(entry.id, Outcome.INTERRUPTED, reason, messages)
    return left


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
    goal = assessment.goal
    if goal is None:
        raise AssertionError(f"{assessment.slot}: actions without a goal")
    try:
        run.apply(goal, assessment.actions)
    except _GIVES_WAY as error:
        return Outcome.INTERRUPTED, str(error)
    except Exception as error:
        if isinstance(error, ArtifactsChanged) and goal.purpose is Purpose.PROMOTE and run.server is None:
            return Outcome.REFUSED, str(error)  # nothing was started or written; what is there now is judged anew
        if not isinstance(error, PinrailError):
            log.exception("deployment %d: a bug, rolling back", run.deployment)
        if goal.purpose is Purpose.CHANGE:
            return _undo_change(run, seen, goal, error)
        if goal.purpose is not Purpose.PROMOTE:  # nothing better to go back to: the next turn tries again
            return Outcome.NEEDS_HUMAN, _said(error)
        return _roll_back(run, seen, assessment, error)
    person = goal.purpose is Purpose.ROLL_BACK and assessment.hold is not None
    return Outcome.LIVE, assessment.hold.reason if person and assessment.hold else ""


def _roll_back(run: Run, seen: Observation, assessment: Assessment, error: Exception) -> tuple[Outcome, str]:
    """The same flow, aimed at the last verified state.

    Only what the version did itself puts it into quarantine, and first: a crash from here on must not try it again.
    After a port that is taken or a registry that refuses a write it is tried again later.
    """
    services, reason = run.services, _said(error)
    condemned = isinstance(error, VersionFailed) or not isinstance(error, PinrailError)
    failed = _failed(seen, assessment, reason)
    if condemned:
        services.journal.quarantine(failed, messages=_revert_needed(assessment, reason))
    try:
        _return_to_verified(run, seen, failed)
    except _GIVES_WAY as stopped:
        return Outcome.INTERRUPTED, f"{reason}\nthe rollback goes on by itself: {stopped}"
    except Exception as second:
        if not isinstance(second, PinrailError):
            log.exception("deployment %d: a bug during the rollback", run.deployment)
        both = f"{reason}\nthe rollback failed too: {second}"
        if isinstance(second, Rejected) and not isinstance(second, VersionFailed):
            return Outcome.INTERRUPTED, both  # a rollback is tried until it can be done
        services.journal.quarantine(replace(failed, reason=both, needs_human=True))
        return Outcome.NEEDS_HUMAN, both
    run.undone = not condemned
    return (Outcome.ROLLED_BACK if condemned else Outcome.INTERRUPTED), reason


def _undo_change(run: Run, seen: Observation, goal: Goal, error: Exception) -> tuple[Outcome, str]:
    """Back to the server that had the traffic, with the settings that it has. The version is not to blame."""
    slot, reason = goal.slot, _said(error)
    before = next(s.spec for s in seen.servers if s.role is Role.LIVE and s.spec.slot == slot)
    back = Goal(slot, before, Purpose.ROLL_BACK)
    try:
        run.apply(back, plan(back, refresh(run.services, seen).world(slot)))
    except _GIVES_WAY as stopped:
        return Outcome.INTERRUPTED, f"{reason}\nthe way back goes on by itself: {stopped}"
    except Exception as second:
        if not isinstance(second, PinrailError):
            log.exception("deployment %d: a bug on the way back", run.deployment)
        return Outcome.NEEDS_HUMAN, f"{reason}\nthe way back failed too: {second}"
    run.undone = True
    return Outcome.INTERRUPTED, reason


def _return_to_verified(run: Run, seen: Observation, failed: Quarantine) -> None:
    """Traffic first: it waits for no registry."""
    services, slot = run.services, failed.slot

    def assessed(now: Observation) -> Assessment:
        others = [q for q in now.quarantined if (q.slot, q.version) != (slot, failed.version)]
        return assess(services, replace(now, quarantined=[failed, *others]), slot)

    first = assessed(observe_servers(services, replace(seen, registry={}, registry_down=None)))
    if first.goal is not None:
        run.apply(first.goal, [action for action in first.actions if action.kind in TRAFFIC])
    watch = [action for action in first.actions if action.kind is ActionKind.WATCH]
    then = assessed(refresh(services, seen))
    if then.goal is not None:
        registry = [action for action in then.actions if action.kind in REGISTRY]
        others = [action for action in then.actions if action.kind not in (*REGISTRY, ActionKind.WATCH)]
        run.apply(then.goal, [*registry, *watch, *others])


def _failed(seen: Observation, assessment: Assessment, reason: str) -> Quarantine:
    environment, pin = seen.pin(assessment.slot)
    return Quarantine(
        assessment.slot,
        assessment.pinned or 0,
        seen.snapshot.commit,
        reason,
        needs_human=False,
        since=time.time(),
        terms=terms_of(environment, pin) if environment is not None and pin is not None else "",
    )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _loop_messages(services: Services, ended: Deployment) -> Sequence[Message]:
    """A repeated restoration is notified of once: where it begins to look like a server that cannot live."""
    if ended.draft.down_since is None:
        return ()
    earlier = restarts(services.journal.history(ended.draft.slot), ended.started_at - CRASH_WINDOW_SECONDS)
    restarted = sum(entry.id != ended.id for entry in earlier) + 1
    return [crash_loop(ended, restarted, CRASH_WINDOW_SECONDS)] if restarted == CRASH_LOOP else ()


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


def note_hold(services: Services, seen: Observation, assessment: Assessment) -> int | None:
    """Record a refusal or a wait, once per reason; None: there is none, or it is recorded already."""
    hold = assessment.hold
    if hold is None or hold.state not in (HoldState.REFUSED, HoldState.WAITING, HoldState.HELD):
        return None
    draft = _draft(seen, assessment, Cause(Trigger.POLICY), to_version=assessment.pinned)
    if services.journal.is_recorded(draft, hold):  # what there would be to send is not even made
        return None
    now = time.time()
    entry = Deployment(UNNUMBERED, draft, hold.state.outcome, hold.reason, now, now)
    with services.journal.composing():
        return services.journal.hold(draft, hold, outcome_messages(services, entry, None))


def _draft(
    seen: Observation,
    assessment: Assessment,
    cause: Cause,
    down_since: float | None = None,
    to_version: int | None = None,
) -> Draft:
    spec = assessment.goal.spec if assessment.goal else None
    verified = assessment.verified
    starts = any(action.kind is ActionKind.START for action in assessment.actions)
    return Draft(
        slot=assessment.slot,
        from_version=verified.version if verified else None,
        to_version=to_version if to_version is not None else (spec.version if spec else None),
        digest=spec.digest if spec else None,
        revision=seen.snapshot.commit,
        cause=cause,
        override=assessment.override,
        plan=tuple(assessment.actions),
        down_since=down_since if cause == DRIFT and starts else None,
    )
