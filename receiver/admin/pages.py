"""What the pages about one model, one deployment and one version show, as plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ml.live.drift_report import SlotDrift
from ml.live.labels import Realised
from receiver.adapters.git.commit_log import CommitNote
from receiver.adapters.known_versions import KnownVersion
from receiver.admin.timeline import Timeline
from receiver.admin.views import DeploymentView
from receiver.core.deployment import WayBack
from receiver.core.quarantine import Freeze, Quarantine, RecordedRequest
from receiver.core.state import Slot
from receiver.planning.status import SlotStatus


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that is going to happen, and when; seconds since the epoch."""

    what: str
    at: float


@dataclass(frozen=True, slots=True)
class ModelPage:
    """One slot."""

    slot: Slot
    row: SlotStatus | None  # None: it is neither pinned nor served any more
    moments: Sequence[Moment]
    drift: SlotDrift | None  # None: nothing was compared
    way_back: WayBack | None
    others: Sequence[str]  # environments with the same model
    timeline: Timeline
    quarantined: Sequence[Quarantine]
    freezes: Sequence[Freeze]
    deployments: Sequence[DeploymentView]
    notes: Mapping[str, CommitNote]
    compared: "Comparison"
    realised: Sequence[Realised]
    requests: Sequence[RecordedRequest]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The pinned version beside the one that was live before; each metric with both values."""

    pinned: int | None = None
    previous: int | None = None
    metrics: Sequence[tuple[str, float | None, float | None]] = ()


@dataclass(frozen=True, slots=True)
class DeploymentPage:
    """One deployment."""

    deployment: DeploymentView
    note: CommitNote | None
    moments: Sequence[Moment]
    waived: Sequence[str]  # what stood against a version that an override let in


@dataclass(frozen=True, slots=True)
class VersionPage:
    """One version of a model, wherever it was deployed."""

    model: str
    version: int
    known: KnownVersion | None
    reports: Sequence[str]  # the environments whose gate's report can be shown
    live: Sequence[SlotStatus]
    deployments: Sequence[DeploymentView]
    realised: Sequence[Realised]
