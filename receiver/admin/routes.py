"""The routes of the pages that people read."""

from typing import Annotated, Literal

from fastapi import FastAPI, Path, Query, Response
from fastapi.responses import HTMLResponse

from receiver.admin.details import Details
from receiver.admin.events import add_events
from receiver.admin.health import HealthGroup
from receiver.admin.overview import OverviewFilter
from receiver.admin.page import (
    render_deliveries,
    render_deployment,
    render_deployments,
    render_missing,
    render_model,
    render_overview,
    render_version,
)
from receiver.admin.queries import AdminQueries
from receiver.core.state import Slot

# A report comes from the registry. Its digest is what signed evidence names; all the same, it may run nothing, load
# nothing and send nothing, and is of no origin that could read what this listener answers.
REPORT_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

Limit = Annotated[int, Query(ge=1, le=1000)]
Days = Annotated[int, Query(ge=1, le=3650)]
Number = Annotated[int, Path(ge=1, le=2**53)]
Name = Annotated[str, Query(max_length=200)]


def add_pages(app: FastAPI, queries: AdminQueries, details: Details) -> None:
    """Let the app answer with pages."""

    @app.get("/", response_class=HTMLResponse)
    def dashboard(q: Name = "", state: Literal["", "trouble", "busy", "healthy"] = "") -> str:
        return render_overview(queries, OverviewFilter(q, HealthGroup(state) if state else None))

    @app.get("/deployments", response_class=HTMLResponse)
    def deployments_page(limit: Limit = 25, environment: Name = "", model: Name = "") -> str:
        return render_deployments(queries, limit, environment or None, model or None)

    @app.get("/deliveries", response_class=HTMLResponse)
    def deliveries_page(limit: Limit = 50) -> str:
        return render_deliveries(queries, limit)

    _add_details(app, queries, details)
    _add_versions(app, queries, details)


def _add_details(app: FastAPI, queries: AdminQueries, details: Details) -> None:
    @app.get("/deployments/{number}", response_class=HTMLResponse)
    def deployment_page(number: Number) -> HTMLResponse:
        page = details.deployment(number)
        if page is None:
            return missing(f"deployment {number}")
        return HTMLResponse(render_deployment(queries, page, details.links))

    add_events(app, details.view, details.stopping)

    @app.get("/models/{environment}/{model}", response_class=HTMLResponse)
    def model_page(environment: str, model: str, days: Days | None = None) -> HTMLResponse:
        page = details.model(Slot(environment, model), days)
        if page is None:
            return missing(f"{environment}/{model}")
        return HTMLResponse(render_model(queries, page, details.links, can_act=details.can_act))

    def missing(what: str) -> HTMLResponse:
        return HTMLResponse(render_missing(queries, what), 404)


def _add_versions(app: FastAPI, queries: AdminQueries, details: Details) -> None:
    @app.get("/versions/{model}/{version}", response_class=HTMLResponse)
    def version_page(model: str, version: Number) -> HTMLResponse:
        page = details.version(model, version)
        if page is None:
            return missing(f"{model} v{version}")
        return HTMLResponse(render_version(queries, page, details.links))

    @app.get("/versions/{model}/{version}/evidence/{environment}")
    def evidence(model: str, version: Number, environment: str) -> Response:
        page = details.version(model, version)
        found = page.known.evidence.get(environment) if page is not None and page.known is not None else None
        if found is None:
            return missing(f"the evidence of {model} v{version} for {environment}")
        return Response(found.to_json(), media_type="application/json")

    @app.get("/versions/{model}/{version}/report/{environment}")
    def report(model: str, version: Number, environment: str) -> Response:
        found = details.report(model, version, environment)
        if found is None:
            return missing(f"the report of {model} v{version} for {environment}")
        return Response(found, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    def missing(what: str) -> HTMLResponse:
        return HTMLResponse(render_missing(queries, what), 404)
