"""``pinrail history``: every deployment and how it ended, from the journal alone."""

from collections.abc import Sequence
from dataclasses import replace

from ml.live.label_store import LabelStore
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.state_lock import holder
from receiver.admin.views import DeploymentFilter, DeploymentView, deployment_views
from receiver.cli.output import answer
from receiver.cli.tables import change, first_line, realised_text, table
from receiver.core.deployment import Outcome
from receiver.core.redact import Redactor
from receiver.core.times import local
from receiver.planning.on_record import known_slots, unknown_slot
from receiver.settings import load_settings
from receiver.wiring import open_database


def show_history(environment: str | None, model: str | None, *, limit: int, as_json: bool) -> None:
    """Print the last deployments, newest first."""
    settings = load_settings()
    journal, redact = SqliteJournal(open_database(settings)), Redactor(settings.secrets)
    realised = LabelStore(LogDirectories(settings.pinrail_state_dir).root).realised()
    views = deployment_views(journal, redact, realised, DeploymentFilter(limit, environment, model))
    if holder(settings.pinrail_state_dir) is None:
        views = [_interrupted(view) if view.outcome == Outcome.RUNNING else view for view in views]
    empty = "" if views else f"nothing to show: {unknown_slot(journal, environment, model) or _known(journal)}"
    answer(views, lambda found: _text(found, empty), json_wanted=as_json)


def _interrupted(view: DeploymentView) -> DeploymentView:
    """What the next receiver will record."""
    reason = "no receiver runs: it ended before this deployment did; `pinrail up` plans it anew"
    return replace(view, outcome=Outcome.INTERRUPTED, reason=reason)


def _known(journal: SqliteJournal) -> str:
    slots = ", ".join(map(str, known_slots(journal)))
    return f"on record are {slots}" if slots else f"no deployment is on record in {journal.place}"


def _text(deployments: Sequence[DeploymentView], empty: str) -> str:
    return table(
        (
            "#",
            "started",
            "environment",
            "model",
            "from -> to",
            "outcome",
            "seconds",
            "cause",
            "commit",
            "realised",
            "reason",
        ),
        [
            (
                deployment.id,
                local(deployment.started),
                deployment.environment,
                deployment.model,
                change(deployment.from_version, deployment.to_version),
                deployment.outcome + (f" (x{deployment.repeats + 1})" if deployment.repeats else ""),
                deployment.seconds,
                deployment.cause,
                deployment.commit[:7],
                realised_text(deployment.realised),
                first_line(deployment.reason or _override(deployment)),
            )
            for deployment in deployments
        ],
        empty=empty,
    )


def _override(deployment: DeploymentView) -> str:
    return f"override: {deployment.override}" if deployment.override else ""
