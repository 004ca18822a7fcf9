"""The three-way truth per slot, for ``pinrail status`` and the dashboard: git pin, registry, server."""

import threading
import time
from dataclasses import dataclass

from receiver.core.state import Role
from receiver.planning.assess import Assessment, assess
from receiver.planning.observe import Observation, refresh
from receiver.services import Services


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """What git, registry and server say about one slot, and whether they agree."""

    environment: str
    model: str
    pinned: int | None
    alias_version: int | None  # the version that the environment's alias points at
    stage_version: int | None  # the version that has the environment's stage
    serving_version: int | None
    state: str  # see state_of()
    reason: str
    url: str | None
    since: float | None  # when the verified state was verified; seconds since the epoch


FRESH_SECONDS = 2.0  # a dashboard that many people watch asks registry and servers this often at most


class StatusBoard:
    """The latest statuses for the admin listener. Safe to ask from several threads."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: Observation | None = None
        self._shown: Observation | None = None  # what the rows are of
        self._rows: list[SlotStatus] = []
        self._at = 0.0  # monotonic
        self._asking = threading.Lock()

    def update(self, seen: Observation) -> None:
        """Remember what the worker has just looked at, git included. Waits for nobody who looks at it."""
        self._seen = seen

    def rows(self) -> list[SlotStatus]:
        """What is true now of the pins that the worker saw last; empty before its first look.

        Raises:
            Retryable: the servers can't be asked.
        """
        with self._asking:
            seen = self._seen
            if seen is not None and (seen is not self._shown or time.monotonic() - self._at > FRESH_SECONDS):
                self._rows = statuses(self._services, refresh(self._services, seen))
                self._shown, self._at = seen, time.monotonic()
            return self._rows


def statuses(services: Services, seen: Observation) -> list[SlotStatus]:
    """Every slot's status at one look."""
    return [_status(seen, assess(services, seen, slot)) for slot in seen.slots()]


def state_of(seen: Observation, assessment: Assessment) -> str:
    """One word for what would be done about a slot.

    in sync | drift | promote | remove | refused | waiting | rolled-back | needs-human | unfetched | unknown
    """
    if assessment.retry or _unasked(seen, assessment):
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
    """Why a slot is not simply in sync, or what is special about it."""
    if _unasked(seen, assessment):
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


def _unasked(seen: Observation, assessment: Assessment) -> bool:
    """The server is right; but whether the registry is, nobody could say."""
    return seen.registry_down is not None and not assessment.hold and not assessment.actions


def _unregistered(seen: Observation, assessment: Assessment) -> bool:
    """The server is right, and the registry knows nothing of its model, which was renamed or deleted."""
    known = assessment.pinned is None or assessment.slot.model in seen.registry
    return not known and seen.registry_down is None and not assessment.actions


def _status(seen: Observation, assessment: Assessment) -> SlotStatus:
    slot = assessment.slot
    environment, pin = seen.pin(slot)
    view = seen.registry.get(slot.model)
    live = next((s for s in seen.servers if s.spec.slot == slot and s.role is Role.LIVE), None)
    staged = [v for v, stage in view.stages.items() if environment and stage == environment.stage] if view else []
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
        since=assessment.verified.at if assessment.verified else None,
    )
