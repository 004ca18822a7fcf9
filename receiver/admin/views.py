"""What people and programs are shown, as plain data: the same for page, API and command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from receiver.adapters.sqlite.journal import Journal, Step
from receiver.core.deployment import Deployment
from receiver.core.redact import Redactor


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


def deployment_views(
    journal: Journal, redact: Redactor, limit: int, environment: str | None = None, model: str | None = None
) -> list[DeploymentView]:
    """The last deployments, newest first, without what nobody may see."""
    return [
        _deployment(found, journal.steps(found.id), redact) for found in journal.recent(limit, environment, model)
    ]


def iso(seconds: float) -> str:
    """Seconds since the epoch as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _deployment(deployment: Deployment, steps: Sequence[Step], redact: Redactor) -> DeploymentView:
    draft = deployment.draft
    return DeploymentView(
        deployment.id,
        draft.slot.environment,
        draft.slot.model,
        draft.from_version,
        draft.to_version,
        deployment.state,
        redact.lines(deployment.reason),
        None if draft.override is None else redact.line(draft.override),
        draft.cause,
        draft.revision,
        draft.digest,
        iso(deployment.started_at),
        _seconds(deployment.started_at, deployment.ended_at),
        [_step(step, redact) for step in steps],
    )


def _step(step: Step, redact: Redactor) -> StepView:
    action = step.action
    return StepView(
        action.kind,
        redact.line(action.subject),
        action.before,
        action.after,
        None if step.result is None else redact.lines(step.result),
        iso(step.started_at),
        _seconds(step.started_at, step.ended_at),
    )


def _seconds(started: float, ended: float | None) -> float | None:
    return None if ended is None else round(ended - started, 3)
