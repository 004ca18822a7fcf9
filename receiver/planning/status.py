"""The three-way truth per slot, for ``pinrail status`` and the dashboard: git pin, registry, server."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from receiver.core.deployment import DRIFT, Deployment, hindrance, is_degraded
from receiver.core.errors import Retryable
from receiver.core.plan import ActionKind, Purpose
from receiver.core.state import Role, Slot
from receiver.core.times import iso
from receiver.planning.assess import Assessment
from receiver.planning.observe import Observation
from receiver.planning.slot_trouble import SlotTroubles, bug
from receiver.services import Services

SILENT_SECONDS = 120.0  # a turn takes milliseconds, and where an engine hangs, some thirty seconds
RECENT = 1000  # deployments to look through for servers that end again and again


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
    """How it is doing: deploying, healing, rolling back; in sync, degraded, drift; promote, remove, unfetched; held,
    refused, waiting, rolled-back, needs-human; or unknown."""
    reason: str
    """Why the slot is not simply in sync; else empty."""
    url: str | None
    """Where the model server answers."""
    since: float | None
    """When the last verified state was verified; seconds since the epoch."""
    verified: str | None
    """The same as ``since``, as ISO 8601 in UTC."""
    eligible: str | None = None
    """When the pinned version, which waits, may be deployed; ISO 8601, UTC. null: it does not wait for a time."""
    replicas: int = 1
    """How many model servers share its requests, as the one that serves was started; without one, as pinned."""
    replicas_up: int = 0
    """How many of them answer."""

    @property
    def replicas_said(self) -> str:
        """``2 of 3 replicas``; empty where one serves, or nothing does."""
        several = self.replicas > 1 and self.replicas_up
        return f"{self.replicas_up} of {self.replicas} replicas" if several else ""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Every slot at one moment; ``commit`` None: there was none yet. ``stale``: why it is not the branch head."""

    commit: str | None = None
    stale: str | None = None
    slots: Sequence[SlotStatus] = ()


@dataclass(frozen=True, slots=True)
class Activity:
    """What is being done in a slot at this moment, or why nothing is. ``purpose`` None: nothing."""

    purpose: Purpose | None = None
    version: int | None = None
    began: float | None = None  # seconds since the epoch
    installs: str = ""  # packages that are being installed
    waits: str = ""  # what a deployment that could begin waits for
    degraded: bool = False  # its server ends again and again
    hindrance: str = ""  # why the last attempt was interrupted
    trouble: str = ""  # what went wrong there just now, and nothing else explains


IDLE = Activity()
_BUSY = {
    Purpose.PROMOTE: ("deploying", "v{version} is being deployed since {since}"),
    Purpose.CHANGE: ("deploying", "v{version} gets the settings beside its pin since {since}"),
    Purpose.EMPTY: ("deploying", "it is being taken away since {since}"),
    Purpose.RESTORE: ("healing", "v{version} is being restored since {since}"),
    Purpose.ROLL_BACK: ("rolling back", "v{version} is being rolled back to since {since}"),
}


class StatusBoard:
    """The latest statuses for the admin listener, as the controller saw them: it asks nobody. Thread-safe."""

    def __init__(self) -> None:
        self._report = StatusReport()
        self._problem = ""
        self._updated_at: float | None = None  # monotonic

    def update(
        self,
        seen: Observation,
        assessments: Mapping[Slot, Assessment],
        activities: Mapping[Slot, Activity],
        stale: str = "",
    ) -> None:
        """Show one turn of the controller. ``stale``: why these are not the pins at the branch head."""
        report = _report(seen, assessments, activities)
        self._report = replace(report, stale=stale or report.stale)
        self._problem, self._updated_at = "", time.monotonic()

    def lose(self, problem: str) -> None:
        """The servers cannot be observed, or the controller cannot work."""
        self._problem, self._updated_at = problem, time.monotonic()

    def report(self) -> StatusReport:
        """The statuses of the last turn; empty before the first. Retryable: they may not be true any more."""
        if self._problem:
            raise Retryable(self._problem)
        silent = 0.0 if self._updated_at is None else time.monotonic() - self._updated_at
        if silent > SILENT_SECONDS:
            raise Retryable(f"the controller has not said anything for {silent:.0f} s: see the receiver's log")
        return self._report


def status_report(
    services: Services, seen: Observation, activities: Mapping[Slot, Activity] | None = None
) -> StatusReport:
    """Every slot's status in one observation. ``activities``: what is being done meanwhile."""
    troubles = SlotTroubles()
    return _report(seen, {slot: troubles.assess(services, seen, slot) for slot in seen.slots()}, activities or {})


def activities_now(services: Services) -> dict[Slot, Activity]:
    """What a receiver that runs is doing, what ended its last attempts, and which servers end again and again.

    As far as the journal says it.
    """
    found = {}
    for slot, history in _histories(services).items():
        found[slot] = Activity(degraded=is_degraded(history, time.time()), hindrance=hindrance(history))
    for running in services.journal.running():
        draft = running.draft
        purpose = Purpose.RESTORE if draft.cause == DRIFT else Purpose.PROMOTE
        begun = list(services.journal.touched(draft.slot))[-1:]
        installs = next((action.after or "" for action in begun if action.kind is ActionKind.INSTALL), "")
        found[draft.slot] = Activity(purpose, draft.to_version, running.started_at, installs)
    return found


def state_of(seen: Observation, assessment: Assessment, activity: Activity = IDLE) -> str:
    """One word for how a slot is doing.

    deploying | healing | rolling back | in sync | degraded | drift | promote | remove | held | refused | waiting |
    rolled-back | needs-human | unfetched | unknown
    """
    drifts = assessment.drift if assessment.actions else _unregistered(seen, assessment)
    words = (
        ("unknown", activity.trouble or assessment.retry or _registry_unknown(seen, assessment)),
        (str(assessment.hold.state) if assessment.hold else "", assessment.hold),
        ("unfetched", assessment.unfetched),
        ("degraded", activity.degraded),
        ("remove", assessment.actions and assessment.pinned is None),
        ("drift", drifts),
        ("promote", assessment.actions),
    )
    if activity.purpose is not None:
        return _BUSY[activity.purpose][0]
    return next((word for word, applies in words if applies), "in sync")


def reason_of(seen: Observation, assessment: Assessment, activity: Activity = IDLE) -> str:
    """Why a slot is not in sync, or what is special about it."""
    if activity.purpose is not None:
        since = "" if activity.began is None else iso(activity.began)
        said = _BUSY[activity.purpose][1].format(version=activity.version, since=since)
        return f"{said}; first these packages are installed: {activity.installs}" if activity.installs else said
    missing = f"the registry has no model {assessment.slot.model} any more: register it again"
    freeze = seen.freeze(assessment.slot)
    reasons = (
        activity.trouble,
        str(seen.registry_down) if _registry_unknown(seen, assessment) else "",
        assessment.hold.reason if assessment.hold else assessment.retry,
        assessment.unfetched and _failed_before(activity),
        assessment.unfetched and f"{assessment.unfetched}: the receiver downloads what is missing, and then decides",
        "its server ends again and again, and is started after a growing pause: see its log"
        if activity.degraded
        else "",
        activity.waits,
        assessment.actions and _failed_before(activity),
        assessment.override and f"override, gate and soak are waived: {assessment.override}",
        missing if _unregistered(seen, assessment) else "",
        "; ".join(str(action) for action in assessment.actions) if assessment.drift else "",
        freeze and f"a person lets nothing new be deployed here: {freeze.reason}",
    )
    return next((reason for reason in reasons if reason), "")


def _failed_before(activity: Activity) -> str:
    said = activity.hindrance
    return f"the last attempt was interrupted, and it is tried again: {said}" if said else ""


def _report(
    seen: Observation, assessments: Mapping[Slot, Assessment], activities: Mapping[Slot, Activity]
) -> StatusReport:
    slots = [_status_alone(seen, found, activities.get(slot, IDLE)) for slot, found in assessments.items()]
    return StatusReport(seen.snapshot.commit, seen.snapshot.stale, slots)


def _histories(services: Services) -> dict[Slot, list[Deployment]]:
    """The last deployments of each slot, oldest first: as many as a crash loop can have."""
    found: dict[Slot, list[Deployment]] = {}
    for deployment in services.journal.recent(RECENT):
        found.setdefault(deployment.draft.slot, []).insert(0, deployment)
    return found


def _registry_unknown(seen: Observation, assessment: Assessment) -> bool:
    """The server is as pinned, and the registry could not be read."""
    return seen.registry_down is not None and not assessment.hold and not assessment.actions


def _unregistered(seen: Observation, assessment: Assessment) -> bool:
    """The server is as pinned, and its model was renamed or deleted in the registry."""
    missing = assessment.slot.model in seen.registry and seen.registry[assessment.slot.model] is None
    return missing and assessment.pinned is not None and seen.registry_down is None and not assessment.actions


def _status_alone(seen: Observation, assessment: Assessment, activity: Activity) -> SlotStatus:
    try:
        return _status(seen, assessment, activity)
    except Exception as error:  # noqa: BLE001 - such as a time in its records that is none; the slot says it
        about = assessment.slot.environment, assessment.slot.model, assessment.pinned
        return SlotStatus(*about, None, None, None, "unknown", bug(error), None, None, None)


def _status(seen: Observation, assessment: Assessment, activity: Activity) -> SlotStatus:
    slot = assessment.slot
    environment, pin = seen.pin(slot)
    view = seen.registry.get(slot.model)
    live = next((s for s in seen.servers if s.spec.slot == slot and s.role is Role.LIVE), None)
    staged = [v for v, stage in view.stages.items() if environment and stage == environment.stage] if view else []
    since = assessment.verified.at if assessment.verified else None
    until = assessment.hold.until if assessment.hold and activity.purpose is None else None
    return SlotStatus(
        environment=slot.environment,
        model=slot.model,
        pinned=pin.version if pin else None,
        alias_version=view.aliases.get(environment.alias) if view and environment else None,
        stage_version=max(staged, default=None),
        serving_version=live.spec.version if live else None,
        state=state_of(seen, assessment, activity),
        reason=reason_of(seen, assessment, activity),
        url=f"http://127.0.0.1:{live.spec.port}" if live else None,
        since=since,
        verified=None if since is None else iso(since),
        eligible=None if until is None else iso(until),
        replicas=live.spec.replicas if live else pin.replicas if pin else 1,
        replicas_up=len(live.urls) if live else 0,
    )
