"""The flow: make registry and servers match the pins, prove it, or put everything back.

:func:`reconcile` looks once and goes through the slots, lower environments first; :func:`deploy` is what happens to
one slot that is not as it should be.
"""

import logging
import math
import time
from dataclasses import dataclass, field

from receiver.adapters.github.sender import CHANNEL
from receiver.adapters.sqlite.journal import Also, Quarantine
from receiver.core.commit_status import DRIFT
from receiver.core.deployment import Deployment, Draft, Outcome
from receiver.core.errors import InvalidPins, PinrailError, Retryable
from receiver.core.state import Role, Slot
from receiver.notifications.announce import tell
from receiver.notifications.heads import tell_head, tell_invalid
from receiver.notifications.progress import tell_progress
from receiver.planning.observe import Finding, Look, consider, look, look_again, look_at
from receiver.pull_requests.revert import Revert, revert_message
from receiver.reconciler.apply import Run
from receiver.services import Services

log = logging.getLogger(__name__)


@dataclass
class Report:
    """What one reconciliation saw and did."""

    seen: Look
    findings: list[Finding] = field(default_factory=list)  # one per slot
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by deployment
    drift: list[str] = field(default_factory=list)  # seen and left alone, because healing is off
    put_off: list[str] = field(default_factory=list)  # what could not be asked or finished, so look again soon
    again_at: float = math.inf  # when a hold may end by itself, seconds since the epoch


def reconcile(services: Services, cause: str) -> Report:
    """Look, decide, plan, apply, verify, record; for every slot in turn.

    Raises:
        Rejected: the pins at the branch head are not valid; what was verified before them is kept running.
        Retryable: git could not be asked, with the same consequence, or the servers; nothing was touched.
    """
    try:
        report = Report(look(services))
    except PinrailError as error:
        _keep_running(services, cause)
        if isinstance(error, InvalidPins):
            tell_invalid(services, error)
        raise
    services.journal.remember_pins(report.seen.snapshot)
    snapshot = report.seen.snapshot
    cause = f"{cause} (history rewritten)" if snapshot.rewritten else cause
    for slot in report.seen.slots():
        finding = consider(services, report.seen, slot)
        report.findings.append(finding)
        _note_hold(services, finding, report)
        if finding.retry:
            report.put_off.append(finding.retry)
        if finding.settled:
            continue
        owner = _owner_of_port(report.seen, finding)
        if owner is not None:
            report.put_off.append(f"{slot} waits for its port, which {owner} has to leave first")
            continue
        if finding.drift and not services.heal:
            report.drift += [f"{slot}: {action}" for action in finding.actions]
            continue
        deployment, outcome, reason = deploy(services, report.seen, finding, DRIFT if finding.drift else cause)
        report.outcomes[deployment] = outcome
        if outcome is Outcome.INTERRUPTED:
            report.put_off.append(reason)
        report.seen = look_again(services, report.seen)
    tell_head(services, report.seen, report.findings)
    report.put_off += [reason for reason in (snapshot.stale, report.seen.registry_down) if reason]
    return report


def _owner_of_port(seen: Look, finding: Finding) -> Slot | None:
    """The slot that answers where a newcomer is to answer: its pin was removed or moved in the same commit."""
    spec = finding.goal.spec if finding.goal and not finding.goal.verified else None
    others = (s.spec for s in seen.servers if s.role is not Role.CANDIDATE and s.spec.slot != finding.slot)
    return next((other.slot for other in others if spec is not None and other.port == spec.port), None)


def _keep_running(services: Services, cause: str) -> None:
    """Heal what was verified, by the last pins that were valid, and put back what is held; deploy nothing new."""
    last_valid = services.journal.remembered_pins()
    if last_valid is None:
        return
    seen = look_at(services, last_valid)
    for slot in seen.slots():
        finding = consider(services, seen, slot)
        known = finding.goal is not None and finding.goal.verified
        if finding.actions and known and (services.heal or not finding.drift):
            deploy(services, seen, finding, DRIFT if finding.drift else cause)
            seen = look_again(services, seen)


def deploy(services: Services, seen: Look, finding: Finding, cause: str) -> tuple[int, Outcome, str]:
    """Carry one finding's plan out. Whatever happens, the deployment ends recorded, and somebody is told."""
    draft = _draft(seen, finding, cause)
    before = _last_attempt(services, finding)
    deployment = services.journal.open(draft, _tell_begin(services, draft, finding, before))
    outcome, reason = Outcome.INTERRUPTED, "the receiver was stopped"
    try:
        outcome, reason = _carry_out(Run(services, deployment), seen, finding)
    finally:
        repeated = before if before is not None and _repeats(before, draft, finding, outcome) else None
        news = None if repeated else tell(services, draft, finding.goal, outcome, reason)
        services.journal.close(deployment, outcome, reason, news)
        if repeated and repeated.draft.cause == cause == DRIFT and outcome is not Outcome.LIVE:
            services.journal.join(repeated.id, deployment)  # healing fails every minute, perhaps for weeks
    log.info("deployment %d: %s v%s %s %s", deployment, finding.slot, draft.to_version, outcome, reason)
    return deployment, outcome, reason


def _last_attempt(services: Services, finding: Finding) -> Deployment | None:
    """What was last tried in a slot; a pin that policy held back was not."""
    history = services.journal.history(finding.slot)
    return next((d for d in reversed(history) if d.state not in (Outcome.REFUSED, Outcome.WAITING)), None)


def _repeats(before: Deployment, draft: Draft, finding: Finding, outcome: Outcome) -> bool:
    """It ended as the last time, whatever the words, in which times and process ids differ.

    At another commit that is news, except that what lives goes on to live. So is a version that failed once more: it
    was in quarantine, and somebody wanted it tried again.
    """
    goal = finding.goal
    if outcome is not Outcome.LIVE and before.draft.revision != draft.revision:
        return False
    if outcome in (Outcome.ROLLED_BACK, Outcome.NEEDS_HUMAN) and goal and goal.spec and not goal.verified:
        return False
    return (before.state, before.draft.to_version) == (outcome, draft.to_version)


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
        if finding.goal.verified or finding.goal.spec is None:  # nothing better to go back to: try again at each look
            return Outcome.NEEDS_HUMAN, reason
        return _put_back(run, seen, finding, reason)
    return Outcome.LIVE, ""


def _put_back(run: Run, seen: Look, finding: Finding, reason: str) -> tuple[Outcome, str]:
    """The same flow, aimed at the last verified state. Quarantine first: a crash from here on must not try again."""
    services, slot = run.services, finding.slot
    failed = Quarantine(slot, finding.pinned or 0, seen.snapshot.commit, reason, needs_human=False, since=time.time())
    services.journal.quarantine(failed, _propose_revert(services, finding, reason))
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


def _tell_begin(services: Services, draft: Draft, finding: Finding, before: Deployment | None) -> Also | None:
    """GitHub sees the first attempt begin; healing, and trying the same again, are told when they end otherwise."""
    again = (
        before is not None
        and before.state is not Outcome.LIVE
        and (before.draft.revision, before.draft.to_version) == (draft.revision, draft.to_version)
    )
    if finding.goal is None or finding.goal.verified or again:
        return None
    return tell_progress(services, draft, finding.goal, Outcome.RUNNING)


def _propose_revert(services: Services, finding: Finding, reason: str) -> Also | None:
    """Have the pin taken back where there is a version to go back to; a crash from here on does not lose it."""
    last = finding.verified.version if finding.verified else None
    if last is None or finding.pinned in (None, last):
        return None
    slot = finding.slot
    message = revert_message(Revert(slot.environment, slot.model, finding.pinned, last, reason))
    return lambda db: services.outbox.put(CHANNEL, message, db)


def _note_hold(services: Services, finding: Finding, report: Report) -> None:
    """Record a refusal or a wait, once per reason."""
    hold = finding.hold
    if hold is None or hold.state not in (Outcome.REFUSED, Outcome.WAITING):
        return
    report.again_at = min(report.again_at, hold.until or math.inf)
    draft = _draft(report.seen, finding, "policy", to_version=finding.pinned)
    recorded = services.journal.hold(draft, hold, tell(services, draft, None, hold.state, hold.reason))
    if recorded is not None:
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
