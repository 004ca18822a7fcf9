"""``pinrail promote``: apply the receiver's own checks, then propose the change. Nothing is deployed here."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from receiver.core.deployment import Outcome
from receiver.core.edit import edit_pin
from receiver.core.errors import Rejected, Retryable
from receiver.core.pins import path_of, read_pins
from receiver.core.policy import Hold, HoldState
from receiver.core.state import Slot
from receiver.planning.assess import Assessment
from receiver.planning.fetch import fetch_and_assess, fetched
from receiver.planning.observe import Observation, observe_at
from receiver.ports import Snapshot
from receiver.pull_requests.comparison import compare
from receiver.pull_requests.open_pull_request import ProposedChange, Upstream, open_pull_request, push_change
from receiver.pull_requests.promotion import PinChange
from receiver.pull_requests.promotion_body import promotion_body
from receiver.services import Services


def propose_promotion(services: Services, upstream: Upstream, change: PinChange) -> ProposedChange:
    """Check the change, push its branch and, with a token, open its pull request. Safe to repeat.

    A version that still has to soak is proposed; the notes say until when it waits.

    Rejected: no such model, version or environment; the gate or the policy says no; it is pinned already.
    Retryable: git, registry or GitHub cannot be asked.
    """
    snapshot = services.source.snapshot()
    notes = check_change(services, snapshot, change)
    promotion = push_change(upstream, change)
    if upstream.pulls is None:
        return ProposedChange(promotion, None, notes)
    slot = Slot(change.environment, change.model)
    comparison = upstream.redact.within(compare(services.registry, slot, promotion.was, change.version, notes))
    return ProposedChange(
        promotion, open_pull_request(upstream.pulls, promotion, upstream.base, promotion_body(comparison)), notes
    )


def check_change(services: Services, snapshot: Snapshot, change: PinChange) -> Sequence[str]:
    """Assess the pins as they would be after the change; returns what to know before merging it.

    Rejected: the receiver would refuse it. Retryable: it cannot be assessed now.
    """
    if snapshot.stale:
        raise Retryable(snapshot.stale)
    slot = Slot(change.environment, change.model)
    path = path_of(read_pins(snapshot.files).environment(change.environment).name)
    edited = edit_pin(snapshot.files[path], change.model, change.version, path)
    fetched(services.registry, change.model, change.version)  # READY, with its artifacts
    seen = observe_at(services, replace(snapshot, commit="", files={**snapshot.files, path: edited}))
    lifted = [entry.lifting for entry in seen.lifted(slot)]
    seen, unjudged = _without_soak(services, seen, slot)
    assessment = fetch_and_assess(services, seen, slot)
    if assessment.retry is not None:
        raise Retryable(assessment.retry)
    if assessment.hold is not None and assessment.hold.state is HoldState.REFUSED:
        raise Rejected(
            f"{assessment.hold.reason}. To admit exactly this version anyway, put `override: {{version: "
            f'{change.version}, reason: "..."}}` beside its pin in {path}: it is reviewed like any change'
        )
    return [*_notes(services, assessment, change), *lifted, *unjudged]


def _without_soak(services: Services, seen: Observation, slot: Slot) -> tuple[Observation, Sequence[str]]:
    """Without a receiver's journal, such as in CI, it is unknown how long a version has been live."""
    environment, _ = seen.pin(slot)
    if environment is None or environment.after is None or services.journal.recent(1):
        return seen, ()
    note = (
        f"whether it has been live in {environment.after} for long enough is not known here: "
        "the receiver judges that before it deploys"
    )
    lenient = tuple(replace(e, after=None) if e is environment else e for e in seen.desired.environments)
    return replace(seen, desired=replace(seen.desired, environments=lenient)), [note]


def _notes(services: Services, assessment: Assessment, change: PinChange) -> list[str]:
    notes = []
    if assessment.hold is not None:
        notes.append(_waiting(assessment.hold))
    if assessment.override is not None:
        notes.append(f"gate and soak are waived by an override: {assessment.override}")
    failed = [
        d
        for d in services.journal.history(assessment.slot)
        if d.state is Outcome.ROLLED_BACK and d.draft.to_version == change.version
    ]
    if failed:
        when = _utc(failed[-1].started_at)
        notes.append(f"v{change.version} was rolled back here on {when}: {failed[-1].reason.partition(chr(10))[0]}")
    return notes


def _waiting(hold: Hold) -> str:
    until = f"; merged sooner, it waits until {_utc(hold.until)}" if hold.until is not None else ""
    return f"{hold.reason}{until}"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
