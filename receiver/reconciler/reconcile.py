"""The flow of one slot: make registry and servers match the pin, verify that they do, or roll back.

:func:`reconcile_slot` decides and acts; :func:`deploy` carries out a plan. ``controller.py`` runs slots side by side.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

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
    PinrailError,
    Rejected,
)
from receiver.core.messages import Message
from receiver.core.plan import ActionKind, Purpose
from receiver.core.policy import HoldState
from receiver.core.state import Role, Slot
from receiver.notifications.announce import crash_loop, headline, interruption_messages, outcome_messages
from receiver.notifications.progress import progress_messages
from receiver.planning.assess import Assessment, assess
from receiver.planning.fetch import fetch_and_assess
from receiver.planning.observe import Observation, observe_at
from receiver.ports import Alone, Stop, never
from receiver.reconciler.apply import Run
from receiver.reconciler.rolling_back import GIVES_WAY, roll_back, said, undo_change
from receiver.services import Services

log = logging.getLogger(__name__)

UNNUMBERED = 0  # the id of a deployment that the journal has not recorded yet


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What surrounds the deployment of a slot."""

    cause: Cause
    stop: Stop = never  # raises Interrupted where the deployment is to give way
    claimed: Callable[[], Collection[int]] = tuple  # versions that other slots are deployed with at this moment
    down_since: float | None = None  # when the slot's live server was last seen, if it is gone
    exchanges: bool = False  # its port is another slot's, and both move in one step


@dataclass(frozen=True, slots=True)
class SlotResult:
    """What was decided about a slot, and what came of it."""

    assessment: Assessment
    deployment: int | None = None  # None: nothing was recorded
    outcome: Outcome | None = None
    reason: str = ""
    undone: bool = False  # it has to begin anew, once the reason is gone


def reconcile_slot(services: Services, seen: Observation, slot: Slot, around: Circumstances) -> SlotResult:
    """Fetch what has to be judged, decide, and do it. ``seen`` has what the registry says about the slot's model.

    Nothing is done where it turns out that the port is another slot's: whether that moves too, the next turn sees.
    """
    assessment = fetch_and_assess(services, seen, slot)
    if not around.exchanges and assessment.actions and owner_of_port(seen, assessment) is not None:
        return SlotResult(assessment)
    return carry_out(services, seen, assessment, around)


def carry_out(services: Services, seen: Observation, assessment: Assessment, around: Circumstances) -> SlotResult:
    """Record a hold, or deploy; nothing where the slot is in sync."""
    noted = note_hold(services, seen, assessment)
    if not assessment.in_sync:
        return deploy(services, seen, assessment, around)
    if noted is not None and assessment.hold is not None:
        return SlotResult(assessment, noted, assessment.hold.state.outcome, assessment.hold.reason)
    return SlotResult(assessment)


def owner_of_port(seen: Observation, assessment: Assessment) -> Slot | None:
    """The slot that still has the port of what is to be switched to: its pin was removed or moved, or is held.

    What has left the port and stands by keeps a new version waiting, because it may have to come back.
    """
    goal = assessment.goal
    spec = goal.spec if goal else None
    if goal is None or spec is None:
        return None
    roles = (Role.LIVE,) if goal.verified else (Role.LIVE, Role.STANDBY)
    owners = [s for s in seen.servers if s.spec.port == spec.port and s.role in roles]
    if any(s.spec.slot == assessment.slot and s.role is Role.LIVE for s in owners):
        return None
    return next((s.spec.slot for s in owners if s.spec.slot != assessment.slot), None)


def release_changed(services: Services, seen: Observation, alone: Alone = nullcontext) -> None:
    """Release what was in quarantine in slots whose pin was changed since."""
    for slot in {entry.slot for entry in seen.quarantined}:
        with alone(slot):
            for entry in seen.lifted(slot):
                services.journal.release(entry)


def roll_back_alone(services: Services, slot: Slot) -> SlotResult:
    """Roll one slot back where no receiver runs, by the last valid pins. Rejected: there are none yet."""
    last_valid = services.journal.remembered_pins()
    if last_valid is None:
        raise Rejected("no receiver has fetched the branch yet: `pinrail up` starts it")
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
    ended_by = _how_it_ended(services, draft)
    run = Run(services, deployment, around.stop, around.claimed)
    try:
        outcome, reason = _carry_out(run, seen, assessment)
        reason = reason or ended_by
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
    log.info("deployment %d: %s%s", deployment, headline(draft, outcome), f": {reason}" if reason else "")
    return SlotResult(assessment, deployment, outcome, reason, run.undone)


def close_interrupted(
    services: Services, reason: str, busy: Collection[Slot] = (), alone: Alone = nullcontext
) -> Sequence[Deployment]:
    """Record the end of deployments whose receiver died, apart from slots that are at work.

    The next observation takes over from there.
    """
    left = [deployment for deployment in services.journal.running() if deployment.draft.slot not in busy]
    for entry in left:
        with alone(entry.draft.slot), services.journal.composing():
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


def _how_it_ended(services: Services, draft: Draft) -> str:
    """What a person wants to know of a server that is down; not knowing it keeps nobody from restoring the slot."""
    if draft.down_since is None:
        return ""
    try:
        return services.target.how_ended(draft.slot)
    except Exception:
        log.exception("%s: it is not known how its server ended", draft.slot)
        return ""


def _carry_out(run: Run, seen: Observation, assessment: Assessment) -> tuple[Outcome, str]:
    goal = assessment.goal
    if goal is None:
        raise AssertionError(f"{assessment.slot}: actions without a goal")
    try:
        run.apply(goal, assessment.actions)
    except GIVES_WAY as error:
        return Outcome.INTERRUPTED, str(error)
    except Exception as error:
        if isinstance(error, ArtifactsChanged) and goal.purpose is Purpose.PROMOTE and run.server is None:
            return Outcome.REFUSED, str(error)  # nothing was started or written; what is there now is judged anew
        if not isinstance(error, PinrailError):
            log.exception("deployment %d: a bug, rolling back", run.deployment)
        if goal.purpose is Purpose.CHANGE:
            return undo_change(run, seen, goal, error)
        if goal.purpose is not Purpose.PROMOTE:  # nothing better to go back to: the next turn tries again
            return Outcome.NEEDS_HUMAN, said(error)
        return roll_back(run, seen, assessment, error)
    person = goal.purpose is Purpose.ROLL_BACK and assessment.hold is not None
    return Outcome.LIVE, assessment.hold.reason if person and assessment.hold else ""


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


def note_hold(
    services: Services, seen: Observation, assessment: Assessment, *, with_status: bool = True
) -> int | None:
    """Record a refusal or a wait, once per reason; None: there is none, or it is recorded already.

    ``with_status`` False: another hold of the environment is recorded next, and the commit's status with it.
    """
    hold = assessment.hold
    if hold is None or not is_unrecorded(services, seen, assessment):  # what there would be to send is not even made
        return None
    draft = _hold_draft(seen, assessment)
    now = time.time()
    entry = Deployment(UNNUMBERED, draft, hold.state.outcome, hold.reason, now, now)
    with services.journal.composing():
        messages = outcome_messages(services, entry, None, with_status=with_status)
        return services.journal.hold(draft, hold, messages)


def is_unrecorded(services: Services, seen: Observation, assessment: Assessment) -> bool:
    """Policy refuses the pin or lets it wait, and the journal's last entry about the pin does not say so."""
    hold = assessment.hold
    if hold is None or hold.state not in (HoldState.REFUSED, HoldState.WAITING, HoldState.HELD):
        return False
    return not services.journal.is_recorded(_hold_draft(seen, assessment), hold)


def _hold_draft(seen: Observation, assessment: Assessment) -> Draft:
    return _draft(seen, assessment, Cause(Trigger.POLICY), to_version=assessment.pinned)


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
        digest=spec.digest if spec is not None and to_version in (None, spec.version) else None,
        revision=seen.snapshot.commit,
        cause=cause,
        override=assessment.override,
        plan=tuple(assessment.actions),
        down_since=down_since if cause == DRIFT and starts else None,
        port=spec.port if spec is not None else None,
    )
