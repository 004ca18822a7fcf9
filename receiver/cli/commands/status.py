"""``pinrail status``: git pin, registry and server of every slot, observed now."""

import sys
import time
from dataclasses import replace

from ml.live.drift_report import drift_line
from receiver.adapters.sqlite.state_lock import holder
from receiver.admin.views import EnvironmentsView, environments_view, live_figures
from receiver.cli.observing import observe_soon
from receiver.cli.output import answer
from receiver.cli.tables import first_line, realised_text, table, version
from receiver.core.redact import Redactor
from receiver.core.times import ago, local
from receiver.planning.status import SlotStatus, activities_now, status_report
from receiver.settings import load_settings
from receiver.wiring import build, open_database, why_unconfined


def show_status(*, as_json: bool) -> bool:
    """Print pin, registry and server of every slot; returns whether everything is in sync with the branch head.

    PinrailError: they cannot be observed.
    """
    settings = load_settings("pinrail_repo_url")
    services = build(settings, open_database(settings))
    runs = holder(settings.pinrail_state_dir) is not None
    activities = activities_now(services) if runs else None
    observed = observe_soon(services, invalid=True)
    report = status_report(observed.services, observed.seen, activities)
    figures = live_figures(settings.pinrail_state_dir, services.journal)
    view = environments_view(replace(report, stale=observed.stale or None), Redactor(settings.secrets), figures)
    if not runs:
        sys.stderr.write(f"no receiver runs on {settings.pinrail_state_dir}: `pinrail up` starts it\n")
    if why := why_unconfined(settings):
        sys.stderr.write(f"a model that serves has the rights of this user: {why}\n")
    answer(view, status_text, json_wanted=as_json)
    return runs and view.stale is None and all(row.state == "in sync" for row in view.environments)


def status_text(view: EnvironmentsView) -> str:
    """The view as a table."""
    now = time.time()
    stale = f"these are not the pins at the branch head: {view.stale}\n" if view.stale else ""
    return stale + table(
        ("environment", "model", "pin", "alias", "stage", "server", "state", "verified", "realised", "reason"),
        [
            (
                row.environment,
                row.model,
                version(row.pinned),
                version(row.alias_version),
                version(row.stage_version),
                " ".join(filter(None, [version(row.serving_version), row.replicas_said])),
                row.state,
                None if row.since is None else ago(row.since, now),
                realised_text([r for r in view.realised if (r.environment, r.model) == (row.environment, row.model)]),
                "; ".join(filter(None, [first_line(row.reason), *_remarks(view, row)])),
            )
            for row in view.environments
        ],
    )


def _remarks(view: EnvironmentsView, row: SlotStatus) -> list[str]:
    """What is worth knowing beside the state: until when it waits, drift, and a way back that is not ready."""
    slot = (row.environment, row.model)
    drift = [drift_line(each) for each in view.drift if (each.environment, each.model) == slot]
    missing = [each for each in view.ways_back if (each.environment, each.model) == slot and not each.ready]
    eligible = [] if row.eligible is None else [f"eligible at {local(row.eligible)}"]
    return [*eligible, *drift, *(f"way back: {each}" for each in missing)]
