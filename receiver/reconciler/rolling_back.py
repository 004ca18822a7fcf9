"""The way back of a deployment that failed: the same actions, aimed at the last verified state."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from receiver.core.deployment import Outcome
from receiver.core.errors import Interrupted, PinrailError, Retryable, VersionFailed
from receiver.core.messages import Message, RevertNeeded
from receiver.core.plan import ActionKind, Goal, Purpose, plan
from receiver.core.quarantine import Quarantine, terms_of
from receiver.core.state import Role
from receiver.planning.assess import Assessment, assess
from receiver.planning.observe import Observation, observe_servers, refresh
from receiver.reconciler.apply import Run

log = logging.getLogger(__name__)

TRAFFIC = (ActionKind.START, ActionKind.PROVE, ActionKind.SWITCH)
REGISTRY = (ActionKind.STAGE, ActionKind.ALIAS)
GIVES_WAY = (Retryable, Interrupted, OSError)  # nothing that the version did: the next turn goes on


def roll_back(run: Run, seen: Observation, assessment: Assessment, error: Exception) -> tuple[Outcome, str]:
    """Aim at the last verified state.

    Only what the version did itself puts it into quarantine, and first: a crash from here on must not try it again.
    After a port that is taken, a registry that refuses a write or a bug of ours it is tried again later.
    """
    services, reason = run.services, said(error)
    condemned = isinstance(error, VersionFailed)
    failed = _failed(seen, assessment, reason)
    if condemned:
        services.journal.quarantine(failed, messages=_revert_needed(assessment, reason))
    try:
        _return_to_verified(run, seen, failed)
    except GIVES_WAY as stopped:
        return Outcome.INTERRUPTED, f"{reason}\nthe rollback goes on by itself: {stopped}"
    except Exception as second:
        if not isinstance(second, PinrailError):
            log.exception("deployment %d: a bug during the rollback", run.deployment)
        both = f"{reason}\nthe rollback failed too: {second}"
        if not isinstance(second, VersionFailed):
            return Outcome.INTERRUPTED, both  # a rollback is tried until it can be done
        services.journal.quarantine(replace(failed, reason=both, needs_human=True))
        return Outcome.NEEDS_HUMAN, both
    run.undone = not condemned
    return (Outcome.ROLLED_BACK if condemned else Outcome.INTERRUPTED), reason


def undo_change(run: Run, seen: Observation, goal: Goal, error: Exception) -> tuple[Outcome, str]:
    """Back to the server that had the traffic, with the settings that it has. The version is not to blame."""
    slot, reason = goal.slot, said(error)
    before = next(s.spec for s in seen.servers if s.role is Role.LIVE and s.spec.slot == slot)
    back = Goal(slot, before, Purpose.ROLL_BACK)
    now = refresh(run.services, seen)
    if any(s.role is Role.LIVE and s.spec.port == before.port and s.spec.slot != slot for s in now.servers):
        return Outcome.INTERRUPTED, reason  # ports were exchanged: the next turn restores it on its new one
    try:
        run.apply(back, plan(back, now.world(slot)))
    except GIVES_WAY as stopped:
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


def _revert_needed(assessment: Assessment, reason: str) -> Sequence[Message]:
    """Ask for a revert of the pin, where there is a version to go back to."""
    last = assessment.verified.version if assessment.verified else None
    if last is None or assessment.pinned in (None, last):
        return ()
    slot = assessment.slot
    return [RevertNeeded(slot.environment, slot.model, assessment.pinned, last, reason)]


def said(error: Exception) -> str:
    """What an error says; its name where it says nothing."""
    return str(error) or type(error).__name__
