"""``pinrail status --watch``: drawn anew on a terminal; elsewhere a line for each state that changes."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from receiver.adapters.sqlite.state_lock import holder
from receiver.admin.views import EnvironmentsView, as_json, environments_view, live_figures
from receiver.cli.commands.status import status_text
from receiver.cli.observing import Observed, observe_soon
from receiver.cli.tables import first_line, version
from receiver.core.errors import PinrailError
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.planning.observe import observe_servers
from receiver.planning.status import SlotStatus, activities_now, status_report
from receiver.services import Services
from receiver.settings import Settings, load_settings
from receiver.wiring import build, open_database

SECONDS = 2.0
OUTSIDE_SECONDS = 20.0  # between questions to git and registry
CLEAR = "\x1b[H\x1b[J"


def watch_status(*, as_json: bool) -> None:
    """Show every slot until Ctrl-C. PinrailError: the first observation fails; later ones are tried again."""
    settings = load_settings("pinrail_repo_url")
    services = build(settings, open_database(settings))
    observer = _Observer(settings, services)
    view = observer.view()
    show = show_json() if as_json else draw if sys.stdout.isatty() else show_changes()
    while True:
        show(
            view, "" if observer.runs else f"no receiver runs on {settings.pinrail_state_dir}: `pinrail up` starts it"
        )
        time.sleep(SECONDS)
        try:
            view = observer.view()
        except PinrailError as error:
            view = replace(view, problem=observer.redact.line(str(error)))


class _Observer:
    """Observes servers each time, and git and registry now and then."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.redact = Redactor(settings.secrets)
        self.runs = False
        self._settings = settings
        self._services = services
        self._observed: Observed | None = None
        self._asked = 0.0

    def view(self) -> EnvironmentsView:
        state = self._settings.pinrail_state_dir
        self.runs = holder(state) is not None
        activities = activities_now(self._services) if self.runs else None
        observed = self._observe()
        report = status_report(observed.services, observed.seen, activities)
        figures = live_figures(state, self._services.journal)
        return environments_view(replace(report, stale=observed.stale or None), self.redact, figures)

    def _observe(self) -> Observed:
        if self._observed is None or time.monotonic() - self._asked > OUTSIDE_SECONDS:
            self._asked = time.monotonic()
            self._observed = observe_soon(self._services, invalid=True)
        else:
            self._observed = replace(self._observed, seen=observe_servers(self._services, self._observed.seen))
        return self._observed


def draw(view: EnvironmentsView, remark: str) -> None:
    """Draw the table anew, as much of it as the terminal has lines for."""
    head = f"{time.strftime('%H:%M:%S')}, every {SECONDS:g} s; Ctrl-C ends it\n"
    problem = f"this is the last observation: {view.problem}\n" if view.problem else ""
    lines = f"{head}{problem}{remark and remark + chr(10)}{status_text(view)}".splitlines(keepends=True)
    room = shutil.get_terminal_size().lines - 1
    if len(lines) > room:  # or the terminal would scroll, and what is wrong with the first rows be out of sight
        lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines: make the terminal higher\n"]
    sys.stdout.write(f"{CLEAR}{''.join(lines)}")
    sys.stdout.flush()


def show_changes() -> Callable[[EnvironmentsView, str], None]:
    """Returns what prints a line for each state that changes."""
    said: dict[Slot | str, str] = {}

    def show(view: EnvironmentsView, remark: str) -> None:
        general = {"problem": view.problem or "", "pins": view.stale or "", "receiver": remark}
        found: Mapping[Slot | str, str] = {
            **{f"{name}:": text for name, text in general.items() if text},
            **{Slot(row.environment, row.model): _line(row) for row in view.environments},
        }
        for what in [*found, *(gone for gone in said if gone not in found)]:
            line = found.get(what, "over" if isinstance(what, str) else "is neither pinned nor served any more")
            if said.get(what) != line:
                sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what} {line}\n")
                sys.stdout.flush()
        said.clear()
        said.update(found)

    return show


def show_json() -> Callable[[EnvironmentsView, str], None]:
    """Returns what prints a view, as one line of JSON, that differs from the one before."""
    said = ""

    def show(view: EnvironmentsView, _remark: str) -> None:
        nonlocal said
        line = json.dumps(as_json(view))
        if line != said:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
        said = line

    return show


def _line(row: SlotStatus) -> str:
    reason = first_line(row.reason)
    return f"{row.state}: pin {version(row.pinned)}, server {version(row.serving_version)}{reason and '; ' + reason}"
