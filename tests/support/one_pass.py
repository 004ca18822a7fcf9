"""One pass over the slots, one after another, for tests that are about one slot's flow and not about their order."""

import math
from dataclasses import dataclass, field, replace

from receiver.core.deployment import Cause, Outcome, Trigger
from receiver.core.errors import InvalidPins, PinrailError
from receiver.notifications.heads import publish_head, publish_invalid
from receiver.planning.assess import Assessment, assess
from receiver.planning.fetch import fetch_and_assess
from receiver.planning.observe import Observation, observe_at, observe_head, refresh
from receiver.reconciler.reconcile import (
    Circumstances,
    carry_out,
    deploy,
    owner_of_port,
    release_changed,
)
from receiver.services import Services


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
