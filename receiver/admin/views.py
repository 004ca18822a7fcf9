"""What people and programs are shown of the state, as plain data: one shape for the page, the API and ``--json``.

``docs/schemas`` has a JSON schema of each answer, generated from these classes by ``receiver.cli.schemas``. Programs
rely on the names: add fields, and rename or remove none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from ml.live import drift_report
from ml.live.drift_report import SlotDrift
from ml.live.label_store import LabelStore
from ml.live.labels import Realised
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.queries import DeliveryRow
from receiver.core.deployment import Deployment, Outcome, Step, WayBack
from receiver.core.plan import ActionKind
from receiver.core.redact import Redactor
from receiver.core.times import iso
from receiver.planning.status import SlotStatus, StatusReport
from receiver.ports import Journal


@dataclass(frozen=True, slots=True)
class DeploymentFilter:
    """Which deployments are wanted; None: of all environments, or models."""

    limit: int
    environment: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class StepView:
    """One action of a deployment."""

    kind: ActionKind
    subject: str
    """What it acts on: a version, an alias or a server's id."""
    before: str | None
    after: str | None
    result: str | None
    """``done``, or the error; null: it was begun, and its end was not recorded."""
    started: str
    """ISO 8601, UTC."""
    seconds: float | None


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """One deployment with its steps."""

    id: int
    environment: str
    model: str
    from_version: int | None
    """The version that was verified before; null: none."""
    to_version: int | None
    """The pinned version; null: the pin was removed."""
    outcome: Outcome
    reason: str
    override: str | None
    """The reason beside the pin, where gate and soak were waived."""
    cause: str
    commit: str
    """The full object name."""
    digest: str | None
    """Of the model's files."""
    started: str
    """ISO 8601, UTC."""
    seconds: float | None
    """How long it took; null: it is running."""
    steps: Sequence[StepView]
    repeats: int
    """How often it was tried again since, and ended in the same way."""
    realised: Sequence[Realised]
    """How good the answers of the deployed version were there, by the labels that came later."""


@dataclass(frozen=True, slots=True)
class EnvironmentsView:
    """Git pin, registry and server of every slot: ``pinrail status --json`` and ``/api/environments``."""

    commit: str | None
    """The commit whose pins these are; null: the receiver has not looked at the branch yet."""
    stale: str | None
    """Why this is the last fetched commit and not the branch head."""
    problem: str | None
    """Why the servers cannot be observed; the slots are then those of the last observation."""
    environments: Sequence[SlotStatus]
    status: Sequence[SlotStatus]
    """The same as ``environments``, whose earlier name this is."""
    realised: Sequence[Realised]
    """How good the answers of the versions that serve were, by the labels that came later."""
    drift: Sequence[SlotDrift]
    """What the versions that serve were asked in the last day, against what trained them."""
    ways_back: Sequence[WayBack]
    """The version that each slot would go back to, and whether this machine is ready for that."""


@dataclass(frozen=True, slots=True)
class DeploymentsView:
    """The last deployments, newest first: ``/api/deployments``. ``pinrail history --json`` is the list in it."""

    deployments: Sequence[DeploymentView]
    next: str | None
    """The ``cursor`` with which the older ones are asked for; null: there are none."""


@dataclass(frozen=True, slots=True)
class DeliveriesView:
    """The last webhook deliveries, newest first: ``/api/deliveries``."""

    deliveries: Sequence[DeliveryRow]
    next: str | None
    """The ``cursor`` with which the older ones are asked for; null: there are none."""


def as_json(view: Any) -> Any:
    """A view as JSON values. A number that is not finite becomes null: JSON has none."""
    return to_jsonable_python(view, inf_nan_mode="null")


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """What is known of all versions that were live."""

    realised: Sequence[Realised]
    drift: Sequence[SlotDrift]
    ways_back: Sequence[WayBack]


def live_figures(state: Path, journal: Journal) -> LiveFigures:
    """What was found last; ``state`` is the state directory."""
    root = LogDirectories(state).root
    return LiveFigures(LabelStore(root).realised(), drift_report.read(root), journal.ways_back())


def environments_view(
    report: StatusReport, redact: Redactor, figures: LiveFigures, problem: str | None = None
) -> EnvironmentsView:
    """What is published of a look at the world."""
    rows = [replace(row, reason=redact.lines(row.reason)) for row in report.slots]
    stale = None if report.stale is None else redact.line(report.stale)
    serving = {(row.environment, row.model, row.serving_version) for row in rows}
    return EnvironmentsView(
        report.commit,
        stale,
        None if problem is None else redact.line(problem),
        environments=rows,
        status=rows,
        realised=[each for each in figures.realised if (each.environment, each.model, each.version) in serving],
        drift=[each for each in figures.drift if (each.environment, each.model, each.version) in serving],
        ways_back=[replace(each, problem=redact.lines(each.problem)) for each in figures.ways_back],
    )


def deployment_views(
    journal: SqliteJournal, redact: Redactor, realised: Sequence[Realised], wanted: DeploymentFilter
) -> list[DeploymentView]:
    """The last deployments, newest first, without secrets. ``realised``: what is known of all versions."""
    return [
        deployment_view(found, journal.steps(found.id), redact, realised)
        for found in journal.recent(wanted.limit, wanted.environment, wanted.model)
    ]


def deployment_view(
    deployment: Deployment, steps: Sequence[Step], redact: Redactor, realised: Sequence[Realised]
) -> DeploymentView:
    """One deployment, without secrets. ``realised``: what is known of all versions."""
    draft = deployment.draft
    deployed = (draft.slot.environment, draft.slot.model, draft.to_version)
    return DeploymentView(
        id=deployment.id,
        environment=draft.slot.environment,
        model=draft.slot.model,
        from_version=draft.from_version,
        to_version=draft.to_version,
        outcome=deployment.state,
        reason=redact.lines(deployment.reason),
        override=None if draft.override is None else redact.line(draft.override),
        cause=str(draft.cause),
        commit=draft.revision,
        digest=draft.digest,
        started=iso(deployment.started_at),
        seconds=_seconds(deployment.started_at, deployment.ended_at),
        steps=[_step(step, redact) for step in steps],
        repeats=deployment.repeats,
        realised=[each for each in realised if (each.environment, each.model, each.version) == deployed],
    )


def _step(step: Step, redact: Redactor) -> StepView:
    action = step.action
    return StepView(
        kind=action.kind,
        subject=redact.line(action.subject),
        before=action.before,
        after=action.after,
        result=None if step.result is None else redact.lines(step.result),
        started=iso(step.started_at),
        seconds=_seconds(step.started_at, step.ended_at),
    )


def _seconds(started: float, ended: float | None) -> float | None:
    return None if ended is None else round(ended - started, 3)
