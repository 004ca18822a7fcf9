"""``pinrail status``: git pin, registry and server of every slot, observed now."""

import time

from receiver.admin.views import EnvironmentsView, environments_view
from receiver.cli.output import answer
from receiver.cli.tables import first_line, table, version
from receiver.core.redact import Redactor
from receiver.core.times import ago
from receiver.planning.observe import observe_head
from receiver.planning.status import status_report
from receiver.settings import load_settings
from receiver.wiring import build, open_database


def show_status(*, as_json: bool) -> None:
    """Print pin, registry and server of every slot. PinrailError: they cannot be observed."""
    settings = load_settings("pinrail_repo_url")
    services = build(settings, open_database(settings))
    view = environments_view(status_report(services, observe_head(services)), Redactor(settings.secrets))
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
