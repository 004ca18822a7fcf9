"""The three-way truth per slot, for ``pinrail status`` and the dashboard: git pin, registry, server."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from receiver.core.state import Role
from receiver.core.times import iso
from receiver.planning.assess import Assessment, assess
from receiver.planning.observe import Observation, refresh
from receiver.services import Services


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """What git, registry and server say about one slot, and whether they agree. Published as it is."""

    environment: str
    model: str
    pinned: int | None
    """The version in the environment's file; null: none."""
    alias_version: int | None
    """The version that the environment's alias points at."""
    stage_version: int | None
    """The version that has the environment's stage."""
    serving_version: int | None
    """The version that answers requests."""
    state: str
    """in sync, drift, promote, remove, refused, waiting, rolled-back, needs-human, unfetched, or unknown."""
    reason: str
    """Why the slot is not simply in sync; else empty."""
    url: str | None
    """Where the model server answers."""
    since: float | None
    """When the last verified state was verified; seconds since the epoch."""
    verified: str | None
    """The same as ``since``, as ISO 8601 in UTC."""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Every slot at one look; ``commit`` None: there was none yet. ``stale``: why it is not the branch head."""

    commit: str | None = None
    stale: str | None = None
    slots: Sequence[SlotStatus] = ()


FRESH_SECONDS = 2.0  # the dashboard reads registry and servers at most this often


class StatusBoard:
    """The latest statuses for the admin listener. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: Observation | None = None
        self._shown: Observation | None = None  # what the report is of
        self._report = StatusReport()
        self._at = 0.0  # monotonic
        self._asking = threading.Lock()

    def update(self, seen: Observation) -> None:
        """Store the worker's latest observation. Never waits for readers."""
        self._seen = seen

    def report(self) -> StatusReport:
        """Present statuses for the pins that the worker saw last; empty before its first look.

        Raises:
            Retryable: the servers cannot be observed.
        """
        with self._asking:
            seen = self._seen
            if seen is not None and (seen is not self._shown or time.monotonic() - self._at > FRESH_SECONDS):
                self._report = status_report(self._services, refresh(self._services, seen))
                self._shown, self._at = seen, time.monotonic()
            return self._report


def status_report(services: Services, seen: Observation) -> StatusReport:
    """Every slot's status in one observation."""
    slots = [_status(seen, assess(services, seen, slot)) for slot in seen.slots()]
    return StatusReport(seen.snapshot.commit, seen.snapshot.stale, slots)


def state_of(seen: Observation, assessment: Assessment) -> str:
    """One word for what would be done about a slot.

    in sync | drift | promote | remove | refused | waiting | rolled-back | needs-human | unfetched | unknown
    """
    if assessment.retry or _registry_unknown(seen, assessment):
        return "unknown"
    if assessment.hold:
        return str(assessment.hold.state)
    if assessment.unfetched:
        return "unfetched"
    if not assessment.actions:
        return "drift" if _unregistered(seen, assessment) else "in sync"
    if assessment.pinned is None:
        return "remove"
    return "drift" if assessment.drift else "promote"


def reason_of(seen: Observation, assessment: Assessment) -> str:
    """Why a slot is not in sync, or what is special about it."""
    if _registry_unknown(seen, assessment):
        return str(seen.registry_down)
    if assessment.hold or assessment.retry:
        return assessment.hold.reason if assessment.hold else str(assessment.retry)
    if assessment.unfetched:
        return f"{assessment.unfetched}: the receiver downloads what is missing at its next look, and then decides"
    if assessment.override:
        return f"override, gate and soak are waived: {assessment.override}"
    if _unregistered(seen, assessment):
        return f"the registry has no model {assessment.slot.model} any more: register it again"
    return "; ".join(str(action) for action in assessment.actions) if assessment.drift else ""


def _registry_unknown(seen: Observation, assessment: Assessment) -> bool:
    """The server is as pinned, and the registry could not be read."""
    return seen.registry_down is not None and not assessment.hold and not assessment.actions


def _unregistered(seen: Observation, assessment: Assessment) -> bool:
    """The server is as pinned, and its model was renamed or deleted in the registry."""
    missing = assessment.slot.model in seen.registry and seen.registry[assessment.slot.model] is None
    return missing and assessment.pinned is not None and seen.registry_down is None and not assessment.actions


def _status(seen: Observation, assessment: Assessment) -> SlotStatus:
    slot = assessment.slot
    environment, pin = seen.pin(slot)
    view = seen.registry.get(slot.model)
    live = next((s for s in seen.servers if s.spec.slot == slot and s.role is Role.LIVE), None)
    staged = [v for v, stage in view.stages.items() if environment and stage == environment.stage] if view else []
    since = assessment.verified.at if assessment.verified else None
    return SlotStatus(
        environment=slot.environment,
        model=slot.model,
        pinned=pin.version if pin else None,
        alias_version=view.aliases.get(environment.alias) if view and environment else None,
        stage_version=max(staged, default=None),
        serving_version=live.spec.version if live else None,
        state=state_of(seen, assessment),
        reason=reason_of(seen, assessment),
        url=f"http://127.0.0.1:{live.spec.port}" if live else None,
        since=since,
        verified=None if since is None else iso(since),
    )
