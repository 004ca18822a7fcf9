"""The flow: make registry and servers match the pins, prove it, or put everything back.

:func:`reconcile` looks once and goes through the slots, lower environments first; :func:`deploy` is what happens to
one slot that is not as it should be.
"""

import logging
import math
import time
from dataclasses import dataclass, field

from receiver.adapters.journal import Quarantine
from receiver.announce import announce
from receiver.apply import Run
from receiver.core.deployment import Draft, Outcome
from receiver.core.errors import PinrailError, Retryable
from receiver.services import Services
from receiver.survey import Finding, Look, consider, look, look_again

log = logging.getLogger(__name__)


@dataclass
class Report:
    """What one reconciliation saw and did."""

    seen: Look
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by deployment
    drift: list[str] = field(default_factory=list)  # seen and left alone, because healing is off
    put_off: list[str] = field(default_factory=list)  # what could not be asked or finished, so look again soon
    again_at: float = math.inf  # when a hold may end by itself, seconds since the epoch


def reconcile(services: Services, cause: str) -> Report:
    """Look, decide, plan, apply, verify, record; for every slot in turn.

    Raises:
        Rejected: the pins at the branch head are not valid; nothing was touched.
        Retryable: git or the servers could not be asked; nothing was touched.
    """
    report = Report(look(services))
    snapshot = report.seen.snapshot
    cause = f"{cause} (history rewritten)" if snapshot.rewritten else cause
    for slot in report.seen.slots():
        finding = consider(services, report.seen, slot)
        _note_hold(services, finding, report)
        if finding.retry:
            report.put_off.append(finding.retry)
        if not finding.actions:
            continue
        if finding.drift and not services.heal:
            report.drift += [f"{slot}: {action}" for action in finding.actions]
            continue
        deployment, outcome, reason = deploy(services, report.seen, finding, "drift" if finding.drift else cause)
        report.outcomes[deployment] = outcome
        if outcome is Outcome.INTERRUPTED:
            report.put_off.append(reason)
        report.seen = look_again(services, report.seen)
    report.put_off += [reason for reason in (snapshot.stale, report.seen.registry_down) if reason]
    return report


def deploy(services: Services, seen: Look, finding: Finding, cause: str) -> tuple[int, Outcome, str]:
    """Carry one finding's plan out. Whatever happens, the deployment ends recorded, and somebody is told."""
    draft = _draft(seen, finding, cause)
    before = services.journal.history(finding.slot)[-1:]
    deployment = services.journal.open(draft)
    outcome, reason = Outcome.INTERRUPTED, "the receiver was stopped"
    try:
        outcome, reason = _carry_out(Run(services, deployment), seen, finding)
    finally:
        services.journal.close(deployment, outcome, reason)
        if not before or (before[0].state, before[0].reason, before[0].draft.to_version) != (
            outcome,
            reason,
            draft.to_version,
        ):
            announce(services.outbox, draft, outcome, reason)
    log.info("deployment %d: %s v%s %s %s", deployment, finding.slot, draft.to_version, outcome, reason)
    return deployment, outcome, reason


def _carry_out(run: Run, seen: Look, finding: Finding) -> tuple[Outcome, str]:
    if finding.goal is None:
        raise AssertionError(f"{finding.slot}: actions without a goal")
    try:
        run.apply(finding.goal, finding.actions)
    except Retryable as error:
        return Outcome.INTERRUPTED, str(error)
    except Exception as error:
        if not isinstance(error, PinrailError):
            log.exception("deployment %d: a bug, putting back", run.deployment)
        reason = str(error) or type(error).__name__
        if finding.goal.verified:  # there is nothing better to go back to: say so, try again at the next look
            return Outcome.NEEDS_HUMAN, reason
        return _put_back(run, seen, finding, reason)
    return Outcome.LIVE, ""


def _put_back(run: Run, seen: Look, finding: Finding, reason: str) -> tuple[Outcome, str]:
    """The same flow, aimed at the last verified state. Quarantine first: a crash from here on must not try again."""
    services, slot = run.services, finding.slot
    failed = Quarantine(slot, finding.pinned or 0, seen.snapshot.commit, reason, needs_human=False, since=time.time())
    services.journal.quarantine(failed)
    try:
        now = look_again(services, seen)
        last_good = consider(services, now, slot)
        if last_good.goal is not None:
            run.apply(last_good.goal, last_good.actions)
    except Retryable as error:
        return Outcome.INTERRUPTED, f"{reason}\nputting back goes on at the next look: {error}"
    except Exception as error:
        if not isinstance(error, PinrailError):
            log.exception("deployment %d: a bug while putting back", run.deployment)
        both = f"{reason}\nputting back failed too: {error}"
        services.journal.quarantine(
            Quarantine(slot, failed.version, failed.revision, both, needs_human=True, since=failed.since)
        )
        return Outcome.NEEDS_HUMAN, both
    return Outcome.ROLLED_BACK, reason


def _note_hold(services: Services, finding: Finding, report: Report) -> None:
    """Record a refusal or a wait, once per reason."""
    hold = finding.hold
    if hold is None or hold.state not in (Outcome.REFUSED, Outcome.WAITING):
        return
    report.again_at = min(report.again_at, hold.until or math.inf)
    draft = _draft(report.seen, finding, "policy", to_version=finding.pinned)
    recorded = services.journal.hold(draft, hold)
    if recorded is not None:
        announce(services.outbox, draft, hold.state, hold.reason)
        report.outcomes[recorded] = hold.state


def _draft(seen: Look, finding: Finding, cause: str, to_version: int | None = None) -> Draft:
    spec = finding.goal.spec if finding.goal else None
    verified = finding.verified
    return Draft(
        slot=finding.slot,
        from_version=verified.version if verified else None,
        to_version=to_version if to_version is not None else (spec.version if spec else None),
        digest=spec.digest if spec else None,
        revision=seen.snapshot.commit,
        cause=cause,
        override=finding.override,
        plan=tuple(finding.actions),
    )
