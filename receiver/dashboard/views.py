"""What the admin listener shows, as plain data: the same for the page and for the JSON."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepView:
    """One action of a deployment."""

    kind: str
    subject: str
    before: str | None
    after: str | None
    result: str | None  # done | the error | None: begun, and nobody wrote down its end
    started: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """One deployment with its steps. ``commit`` is the full object name; times are ISO 8601, UTC."""

    id: int
    environment: str
    model: str
    from_version: int | None
    to_version: int | None
    outcome: str
    reason: str
    override: str | None
    cause: str
    commit: str
    digest: str | None
    started: str
    seconds: float | None
    steps: Sequence[StepView]


@dataclass(frozen=True, slots=True)
class EnvironmentView:
    """The three-way truth of one (environment, model): git pin, registry, server."""

    environment: str
    model: str
    pinned: int | None
    alias_version: int | None
    stage_version: int | None
    serving_version: int | None
    state: str
    reason: str
    url: str | None
    verified: str | None  # since when; ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """One webhook delivery, and the job that it joined."""

    id: str
    sender: str
    event: str
    received: str
    verdict: str
    note: str
    job: int | None
    job_state: str | None
    job_note: str | None


@dataclass(frozen=True, slots=True)
class Truth:
    """The environments as they are now or, with ``problem``, as they were when they could last be asked."""

    environments: Sequence[EnvironmentView]
    problem: str | None = None
