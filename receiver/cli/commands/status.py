"""``pinrail status``: git pin, registry and server of every slot, observed now."""

import sys
import time

from receiver.adapters.sqlite.state_lock import holder
from receiver.admin.views import EnvironmentsView, environments_view
from receiver.cli.output import answer
from receiver.cli.tables import first_line, table, version
from receiver.core.redact import Redactor
from receiver.core.times import ago
from receiver.planning.observe import observe_head
from receiver.planning.status import activities_now, status_report
from receiver.settings import load_settings
from receiver.wiring import build, open_database


def show_status(*, as_json: bool) -> None:
    """Print pin, registry and server of every slot. PinrailError: they cannot be observed."""
    settings = load_settings("pinrail_repo_url")
    services = build(settings, open_database(settings))
    runs = holder(settings.pinrail_state_dir) is not None
    report = status_report(services, observe_head(services), activities_now(services) if runs else None)
    view = environments_view(report, Redactor(settings.secrets))
    if not runs:
        sys.stderr.write(f"no receiver runs on {settings.pinrail_state_dir}: `pinrail up` starts it\n")
    answer(view, _text, json_wanted=as_json)


def _text(view: EnvironmentsView) -> str:
    now = time.time()
    return table(
        ("environment", "model", "pin", "alias", "stage", "server", "state", "verified", "reason"),
        [
            (
                row.environment,
                row.model,
                version(row.pinned),
                version(row.alias_version),
                version(row.stage_version),
                version(row.serving_version),
                row.state,
                None if row.since is None else ago(row.since, now),
                first_line(row.reason),
            )
            for row in view.environments
        ],
    )
