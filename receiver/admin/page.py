"""Renders the dashboard. Autoescaping is on: what somebody wrote is text here, whatever it looks like."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from receiver.admin.queries import AdminQueries
from receiver.admin.views import EnvironmentView
from receiver.cli.output import ago

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

# How a state looks; what is not named here is neutral.
TONES = {
    "in sync": "good",
    "live": "good",
    "done": "good",
    "accepted": "good",
    "running": "busy",
    "leased": "busy",
    "promote": "busy",
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
    """The whole page; tables have ``shown`` rows at most."""
    truth = queries.truth()
    return _TEMPLATES.get_template("dashboard.html").render(
        truth=truth,
        summary=summary(truth.environments, truth.problem),
        deployments=queries.deployments(shown),
        deliveries=queries.deliveries(shown),
        quarantined=queries.quarantined(),
        jobs=queries.jobs(),
    )


def summary(rows: Sequence[EnvironmentView], problem: str | None) -> tuple[str, str]:
    """The whole in one tone and one phrase, the worst first."""
    states = [row.state for row in rows]
    if "needs-human" in states:
        return "alarm", "needs a human"
    if problem:
        return "warn", "the world cannot be asked"
    if not states:
        return "neutral", "nothing is pinned yet"
    odd = [state for state in states if state != "in sync"]
    if not odd:
        return "good", "everything is in sync"
    tones = [TONES.get(state, "neutral") for state in odd]
    worst = next(tone for tone in ("bad", "warn", "busy", "neutral") if tone in tones)
    return worst, f"{len(odd)} of {len(states)} not in sync"


def _ago(moment: str | float | None) -> str:
    if moment is None:
        return "never"
    then = moment if isinstance(moment, float) else datetime.fromisoformat(moment).timestamp()
    return ago(then)


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
