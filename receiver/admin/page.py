"""Renders the pages. Autoescaping is on, so foreign text never becomes markup."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from receiver.adapters.sqlite.queries import DeliveryQuery, DeploymentQuery
from receiver.admin.health import NEUTRAL, tone, worst
from receiver.admin.overview import OverviewFilter
from receiver.admin.pages import DeploymentPage, ModelPage, VersionPage
from receiver.admin.queries import AdminQueries
from receiver.admin.views import EnvironmentsView
from receiver.core.links import Links
from receiver.core.times import ago, iso, seconds_of
from receiver.planning.status import SlotStatus

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
SHOWN = 10  # deployments on the overview


@dataclass(frozen=True, slots=True)
class Notice:
    """What concerns every slot, above each page."""

    tone: str
    title: str
    text: str


def render_overview(queries: AdminQueries, wanted: OverviewFilter) -> str:
    """Every slot, what is wrong, and the last deployments."""
    view = queries.environments()
    found = queries.overview(view.environments, wanted)
    return _render(
        "overview.html",
        queries,
        view,
        here="/",
        wanted=wanted,
        overview=found,
        filters=[("all", found.total), *found.counts.items()],
        link=_link,
        quarantined=queries.quarantined(),
        deployments=queries.deployments(DeploymentQuery(SHOWN)).deployments,
    )


def render_deployments(queries: AdminQueries, limit: int, environment: str | None, model: str | None) -> str:
    """The last deployments, perhaps of one environment or model."""
    return _render(
        "deployments.html",
        queries,
        queries.environments(),
        here="/deployments",
        limit=limit,
        environment=environment,
        model=model,
        deployments=queries.deployments(DeploymentQuery(limit, environment, model)).deployments,
    )


def render_deliveries(queries: AdminQueries, limit: int) -> str:
    """The last webhook deliveries."""
    view = queries.environments()
    deliveries = queries.deliveries(DeliveryQuery(limit)).deliveries
    return _render("deliveries.html", queries, view, here="/deliveries", deliveries=deliveries)


def render_model(queries: AdminQueries, page: ModelPage, links: Links, *, can_act: bool) -> str:
    """One slot: what was live, what holds, what was measured."""
    return _render("model.html", queries, queries.environments(), here="", page=page, links=links, can_act=can_act)


def render_deployment(queries: AdminQueries, page: DeploymentPage, links: Links) -> str:
    """One deployment."""
    return _render("deployment.html", queries, queries.environments(), here="", page=page, links=links)


def render_version(queries: AdminQueries, page: VersionPage, links: Links) -> str:
    """One version of a model."""
    return _render("version.html", queries, queries.environments(), here="", page=page, links=links)


def render_action(queries: AdminQueries, status: int, **values: Any) -> HTMLResponse:
    """What a person is about to do, or what came of it."""
    return HTMLResponse(_render("action.html", queries, queries.environments(), here="", **values), status)


def render_missing(queries: AdminQueries, what: str) -> str:
    """There is no such page."""
    return _render("missing.html", queries, queries.environments(), here="", what=what)


def summary(rows: Sequence[SlotStatus], problem: str | None, stale: str | None = None) -> tuple[str, str]:
    """The overall state as (tone, phrase): the worst slot decides; old pins are not called in sync."""
    states = [row.state for row in rows]
    if "needs-human" in states:
        return "alarm", "needs a human"
    if problem:
        return "warn", "the servers cannot be observed"
    if not states:
        return NEUTRAL, "nothing is pinned yet"
    off = [state for state in states if state != "in sync"]
    if not off and stale:
        return "warn", "the pins at the branch head are not in use"
    if not off:
        return "good", "everything is in sync"
    return tone(worst(off) or ""), f"{len(off)} of {len(states)} not in sync"


def _render(template: str, queries: AdminQueries, view: EnvironmentsView, **values: Any) -> str:
    return _TEMPLATES.get_template(template).render(
        summary=summary(view.environments, view.problem, view.stale), notices=list(_notices(queries, view)), **values
    )


def _notices(queries: AdminQueries, view: EnvironmentsView) -> Iterator[Notice]:
    if view.stale:
        yield Notice("warn", "These are not the pins at the branch head.", view.stale)
    if view.problem:
        text = f"{view.problem} This is the last observation."
        yield Notice("warn", "The servers cannot be observed.", text)
    for job in queries.jobs():
        if job.state == "dead":
            if view.stale and job.note in view.stale:
                continue  # that is why the pins are old, and stands above
            text = f"(job {job.id}), so nothing new is deployed: {job.note}"
            yield Notice("bad", "The branch could not be read, or its pins are not valid", text)
        elif job.state == "retry":
            text = f"(job {job.id}, attempt {job.attempts}): {job.note}"
            yield Notice("warn", "The branch is fetched again soon", text)


def _link(text: str, group: str) -> str:
    values = {"q": text, "state": "" if group == "all" else group}
    query = urlencode({name: value for name, value in values.items() if value})
    return f"/?{query}" if query else "/"


def _seconds(moment: str | float) -> float:
    return seconds_of(moment) if isinstance(moment, str) else moment


def _took(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _model_path(environment: str, model: str) -> str:
    return f"/models/{quote(environment, safe='')}/{quote(model, safe='')}"


def _version_path(model: str, version: int) -> str:
    return f"/versions/{quote(model, safe='')}/{version:d}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


_TEMPLATES.globals |= {"model_path": _model_path, "version_path": _version_path}
_TEMPLATES.filters |= {
    "figure": _figure,
    "ago": lambda moment: ago(_seconds(moment), time.time()),
    "moment": lambda moment: iso(_seconds(moment)),
    "took": _took,
    "tone": tone,
    "utc": lambda seconds: iso(seconds).replace("T", " ").replace("Z", " UTC"),
    "version": lambda version: "nothing" if version is None else f"v{version}",
}

for _name in _TEMPLATES.list_templates():
    _TEMPLATES.get_template(_name)  # now: Pinrail may be upgraded in its place while a receiver runs
