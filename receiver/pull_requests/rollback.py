"""``pinrail rollback``: propose that an earlier version is pinned again and, with ``--now``, roll back first."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from receiver.core.deployment import Deployment, Outcome, last_verified
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.messages import RevertNeeded
from receiver.core.pins import path_of, read_pins
from receiver.core.quarantine import Quarantine, terms_of
from receiver.core.state import Role, Slot
from receiver.planning.observe import read_desired
from receiver.ports import Snapshot
from receiver.pull_requests.comparison import compare
from receiver.pull_requests.open_pull_request import ProposedChange, Upstream, open_pull_request, push_change
from receiver.pull_requests.promotion import PinChange
from receiver.pull_requests.promotion_body import rollback_body
from receiver.pull_requests.propose_promotion import check_change
from receiver.services import Services

RESTORE_SECONDS = 90.0  # a cold start, and what a machine that is busy adds to it
POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class RollbackPlan:
    """The pinned version, the version to roll back to, and the pins that this was read from."""

    slot: Slot
    pinned: int
    target: int
    terms: str  # of the pin
    snapshot: Snapshot


def plan_rollback(services: Services, slot: Slot, to: int | None, *, now: bool = False) -> RollbackPlan:
    """Choose the version to go back to: ``to``, or the last one verified here that is neither pinned nor held.

    With ``now`` the pins that the receiver serves count, and neither git nor the registry is asked. Where a person
    has taken out the pinned version already, the next one further back is chosen.

    Rejected: the pins are not valid, there is no such pin, or no other version was ever verified here.
    """
    snapshot = services.journal.remembered_pins() if now else None
    if snapshot is None:
        snapshot = _valid_head(services)
    desired = read_pins(snapshot.files)
    environment, pin = desired.environment(slot.environment), desired.pin(slot.environment, slot.model)
    terms = terms_of(environment, pin)
    if to is not None:
        return RollbackPlan(slot, pin.version, to, terms, snapshot)
    held = _held(services, slot, pin.version, terms)
    passed_over: set[int | None] = {pin.version, *(q.version for q in held)}
    if now and any(q.manual and q.version == pin.version for q in held):
        live = (s.spec for s in services.target.observe() if s.role is Role.LIVE)
        passed_over |= {spec.version for spec in live if spec.slot == slot}  # it may not be verified yet
    last = last_verified(services.journal.history(slot), passed_over)
    if last is None or last.version is None:
        proven = {d.draft.to_version for d in services.journal.history(slot) if d.state is Outcome.LIVE}
        named = ", ".join(f"v{version}" for version in sorted(v for v in proven if v is not None))
        but = f" but {named}" if named else ""
        raise Rejected(f"no version of {slot}{but} was ever verified here: name one with --to")
    return RollbackPlan(slot, pin.version, last.version, terms, snapshot)


def hold_newer(services: Services, plan: RollbackPlan, reason: str) -> None:
    """Put what is pinned, and what came after the target, into quarantine: the receiver then rolls back at once.

    It holds until the pin is changed, or `pinrail retry`.

    Rejected: the target was never verified live here, or is in quarantine.
    """
    history = services.journal.history(plan.slot)
    for entry in _held(services, plan.slot, plan.pinned, plan.terms):
        if entry.version == plan.target:
            raise Rejected(f"{plan.slot} v{plan.target} is in quarantine itself: {entry.reason}")
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
    held = Quarantine(
        plan.slot,
        plan.pinned,
        plan.snapshot.commit,
        reason,
        needs_human=False,
        since=time.time(),
        terms=plan.terms,
        manual=True,
    )
    services.journal.quarantine(*(replace(held, version=version) for version in sorted(newer - {plan.target})))


def await_serving(services: Services, plan: RollbackPlan, seconds: float = RESTORE_SECONDS) -> None:
    """Wait until the slot's public port answers as the target. Retryable: it does not within so many seconds."""
    deadline, said = time.monotonic() + seconds, "its server has no traffic yet"
    while time.monotonic() < deadline:
        try:
            for server in services.target.observe():
                if (server.spec.slot, server.spec.version, server.role) == (plan.slot, plan.target, Role.LIVE):
                    services.prober.watch(server, 0.0)
                    return
        except PinrailError as error:
            said = str(error)
        time.sleep(POLL_SECONDS)
    raise Retryable(
        f"{plan.slot}: v{plan.pinned} is held, and v{plan.target} does not answer after {seconds:g} s: {said}. "
        "The receiver goes on trying: see `pinrail status` and `pinrail history`"
    )


def propose_rollback(services: Services, upstream: Upstream, plan: RollbackPlan, reason: str) -> ProposedChange:
    """Push the branch that pins the target again and, with a token, open its pull request. Safe to repeat.

    Rejected: the pins are not valid, policy would not let the target in, or it is what is pinned. Retryable: git,
    registry or GitHub cannot be asked.
    """
    snapshot = services.source.snapshot()
    try:
        read_desired(services, snapshot)
    except Rejected as error:
        raise Rejected(
            f"no pull request can be opened while the pins are not valid:\n{error}\n"
            f"Correct that and, in the same commit, set the version of {plan.slot.model} in "
            f"{path_of(plan.slot.environment)} to {plan.target}: else v{plan.pinned} may come back"
        ) from error
    change = PinChange(plan.slot.model, plan.target, plan.slot.environment, back=True)
    notes = check_change(services, snapshot, change)
    promotion = push_change(upstream, change)
    if upstream.pulls is None:
        return ProposedChange(promotion, None, notes)
    comparison = upstream.redact.within(compare(services.registry, plan.slot, promotion.was, plan.target, notes))
    body = rollback_body(comparison, upstream.redact.lines(reason))
    return ProposedChange(promotion, open_pull_request(upstream.pulls, promotion, upstream.base, body), notes)


def propose_later(services: Services, plan: RollbackPlan, reason: str) -> None:
    """Have the receiver open the pull request, as soon as it can."""
    slot = plan.slot
    services.outbox.put(RevertNeeded(slot.environment, slot.model, plan.pinned, plan.target, reason))


def _valid_head(services: Services) -> Snapshot:
    snapshot = services.source.snapshot()
    try:
        read_desired(services, snapshot)
    except Rejected as error:
        raise Rejected(
            f"{error}\nA pull request needs valid pins: correct them and set the version in the same "
            "commit, or use --now, which rolls back at once all the same"
        ) from error
    return snapshot


def _held(services: Services, slot: Slot, pinned: int, terms: str) -> Sequence[Quarantine]:
    return [q for q in services.journal.quarantined() if q.slot == slot and q.holds(pinned, terms)]


def _verified(deployment: Deployment, version: int) -> bool:
    return deployment.state is Outcome.LIVE and deployment.draft.to_version == version
