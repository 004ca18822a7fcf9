"""``pinrail rollback``: propose that an earlier version is pinned again and, with ``--now``, roll back first."""

import time
from dataclasses import dataclass

from receiver.adapters.sqlite.queue import Queue
from receiver.core.deployment import Deployment, Outcome, last_verified
from receiver.core.errors import Rejected
from receiver.core.pins import path_of, read_pins
from receiver.core.quarantine import Quarantine
from receiver.core.state import Slot
from receiver.planning.observe import read_desired
from receiver.ports import Snapshot
from receiver.pull_requests.comparison import compare
from receiver.pull_requests.open_pull_request import ProposedChange, Upstream, open_pull_request, push_change
from receiver.pull_requests.promotion import PinChange
from receiver.pull_requests.promotion_body import rollback_body
from receiver.pull_requests.propose_promotion import check_change
from receiver.services import Services

RESTORE_SECONDS = 60.0
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """The pinned version and the version to roll back to."""

    slot: Slot
    pinned: int
    target: int
    snapshot: Snapshot
    problem: str = ""  # why the pins at the branch head are not valid; the snapshot is of the last that were


def plan_rollback(services: Services, slot: Slot, to: int | None, *, now: bool = False) -> RollbackPlan:
    """Choose the version to go back to: ``to``, or the last one verified here that is not the one pinned.

    With ``now``, invalid pins are no obstacle: the last valid ones, which the receiver keeps serving, count.

    Rejected: the pins are not valid, there is no such pin, or no other version was ever verified here.
    """
    snapshot, problem = _pins(services, now=now)
    pinned = read_pins(snapshot.files).pin(slot.environment, slot.model).version
    if to is not None:
        return RollbackPlan(slot, pinned, to, snapshot, problem)
    held = {q.version for q in services.journal.quarantined(snapshot.commit) if q.slot == slot}
    last = last_verified(services.journal.history(slot), {pinned, *held})
    if last is None or last.version is None:
        raise Rejected(f"no version of {slot} but v{pinned} was ever verified here: name one with --to")
    return RollbackPlan(slot, pinned, last.version, snapshot, problem)


def restore(services: Services, queue: Queue, plan: RollbackPlan, reason: str) -> None:
    """Have the receiver roll back to the target at once, and hold what is pinned until a new commit or a retry.

    Rejected: the target was never verified live here, or is in quarantine.
    """
    history = services.journal.history(plan.slot)
    for held in services.journal.quarantined(plan.snapshot.commit):
        if (held.slot, held.version) == (plan.slot, plan.target):
            raise Rejected(f"{plan.slot} v{plan.target} is in quarantine itself: {held.reason}")
    if not any(_verified(d, plan.target) for d in history):
        raise Rejected(
            f"{plan.slot} v{plan.target} was never verified live here, so it cannot be restored at once: "
            "leave out --now, and it is proven like any new version"
        )
    newest_first = [d for d in reversed(history) if d.state is Outcome.LIVE and d.draft.to_version is not None]
    newer = {plan.pinned}
    for deployment in newest_first:
        if deployment.draft.to_version == plan.target:
            break
        newer.add(deployment.draft.to_version or 0)
    for version in sorted(newer - {plan.target}):
        services.journal.quarantine(
            Quarantine(
                plan.slot,
                version,
                plan.snapshot.commit,
                reason,
                needs_human=False,
                since=time.time(),
            )
        )
    queue.enqueue("rollback")


def await_restored(services: Services, plan: RollbackPlan, seconds: float = RESTORE_SECONDS) -> bool:
    """Wait until the receiver has verified the target."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = services.journal.verified().get(plan.slot)
        if now is not None and now.version == plan.target:
            return True
        time.sleep(POLL_SECONDS)
    return False


def propose_rollback(services: Services, upstream: Upstream, plan: RollbackPlan, reason: str) -> ProposedChange:
    """Push the branch that pins the target again and, with a token, open its pull request. Safe to repeat.

    Rejected: the pins are not valid, policy would not let the target in, or it is what is pinned. Retryable: git,
    registry or GitHub cannot be asked.
    """
    if plan.problem:
        raise Rejected(
            f"no pull request can be opened while the pins are not valid:\n{plan.problem}\n"
            f"Correct that and, in the same commit, set the version of {plan.slot.model} in "
            f"{path_of(plan.slot.environment)} to {plan.target}: a commit that pins v{plan.pinned} brings it back"
        )
    change = PinChange(plan.slot.model, plan.target, plan.slot.environment, back=True)
    notes = check_change(services, plan.snapshot, change)
    promotion = push_change(upstream, change)
    if upstream.pulls is None:
        return ProposedChange(promotion, None, notes)
    comparison = upstream.redact.within(compare(services.registry, plan.slot, promotion.was, plan.target, notes))
    body = rollback_body(comparison, upstream.redact.lines(reason))
    return ProposedChange(promotion, open_pull_request(upstream.pulls, promotion, upstream.base, body), notes)


def _pins(services: Services, *, now: bool) -> tuple[Snapshot, str]:
    """The pins to use and, if they are not those at the branch head, why."""
    try:
        snapshot = services.source.snapshot()
        read_desired(services, snapshot)
    except Rejected as error:
        last_valid = services.journal.remembered_pins()
        if last_valid is None:
            raise
        if not now:
            raise Rejected(
                f"{error}\nA pull request needs valid pins: correct them and set the version in the same "
                "commit, or use --now, which rolls back at once all the same"
            ) from error
        return last_valid, str(error)
    return snapshot, ""


def _verified(deployment: Deployment, version: int) -> bool:
    return deployment.state is Outcome.LIVE and deployment.draft.to_version == version
