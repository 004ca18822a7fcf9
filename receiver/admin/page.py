"""Renders the dashboard. Autoescaping is on, so foreign text never becomes markup."""

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from receiver.admin.queries import AdminQueries
from receiver.core.times import ago
from receiver.planning.status import SlotStatus

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

# The colour of each state; others are neutral.
TONES = {
    "in sync": "good",
    "live": "good",
    "done": "good",
    "accepted": "good",
    "running": "busy",
    "leased": "busy",
    "promote": "busy",
    "deploying": "busy",
    "healing": "warn",
    "rolling back": "warn",
    "degraded": "warn",
    "held": "warn",
    "unfetched": "busy",
    "drift": "warn",
    "waiting": "warn",
    "retry": "warn",
    "unknown": "warn",
    "interrupted": "warn",
    "remove": "warn",
    "refused": "bad",
    "rolled-back": "bad",
    "dead": "bad",
    "needs-human": "alarm",
}


def render(queries: AdminQueries, shown: int) -> str:
    """The whole page, with at most ``shown`` rows per table."""
    view = queries.environments()
    return _TEMPLATES.get_template("dashboard.html").render(
        problem=view.problem,
        environments=view.environments,
        stale=view.stale,
        summary=summary(view.environments, view.problem, view.stale),
        deployments=queries.deployments(shown).deployments,
        deliveries=queries.deliveries(shown).deliveries,
        quarantined=queries.quarantined(),
        jobs=queries.jobs(),
    )


def summary(rows: Sequence[SlotStatus], problem: str | None, stale: str | None = None) -> tuple[str, str]:
    """The overall state as (tone, phrase): the worst slot decides; old pins are not called in sync."""
    states = [row.state for row in rows]
    if "needs-human" in states:
        return "alarm", "needs a human"
    if problem:
        return "warn", "registry or servers cannot be observed"
    if not states:
        return "neutral", "nothing is pinned yet"
    off = [state for state in states if state != "in sync"]
    if not off and stale:
        return "warn", "the pins at the branch head are not in use"
    if not off:
        return "good", "everything is in sync"
    tones = [TONES.get(state, "neutral") for state in off]
    worst = next(tone for tone in ("bad", "warn", "busy", "neutral") if tone in tones)
    return worst, f"{len(off)} of {len(states)} not in sync"


def _ago(moment: str | float | None) -> str:
    if moment is None:
        return "never"
    then = moment if isinstance(moment, float) else datetime.fromisoformat(moment).timestamp()
    return ago(then, time.time())


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


_TEMPLATES.filters |= {
    "ago": _ago,
    "took": _took,
    "tone": lambda state: TONES.get(state, "neutral"),
    "version": lambda version: "nothing" if version is None else f"v{version}",
}
