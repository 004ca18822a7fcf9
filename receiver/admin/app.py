"""The admin listener's routes: dashboard, JSON API, health and metrics. Only labels and actions write."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.queries import StateQueries
from receiver.admin.actions import add_actions
from receiver.admin.api import DESCRIPTION, OPENAPI, add_api, hide_pages
from receiver.admin.details import Details, Sources
from receiver.admin.labels import add_label_route
from receiver.admin.metrics import Exposition, StateCollector
from receiver.admin.queries import AdminQueries
from receiver.admin.routes import add_pages
from receiver.core.redact import Redactor
from receiver.planning.status import StatusReport

STATIC = Path(__file__).parent / "static"
OVERDUE_SECONDS = 60.0  # a job due for so long and not started means that the fetcher is dead or stuck

# The browser loads nothing from elsewhere and runs no inline script, even if foreign text got into a page as markup.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser would not say where a form comes from
    "Cache-Control": "no-store",
}
# Only these host names: a foreign site's name that resolves to 127.0.0.1 must not read the answers (DNS rebinding).
HOSTS = ("127.0.0.1", "localhost", "[::1]")


def admin_config(
    database: Database,
    report: Callable[[], StatusReport],
    port: int,
    redact: Redactor | None = None,
    sources: Sources | None = None,
) -> uvicorn.Config:
    """The listener's configuration, on ``127.0.0.1`` only: whoever is on this machine may read."""
    return uvicorn.Config(
        admin_app(database, report, redact or Redactor(), sources),
        host="127.0.0.1",
        port=port,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )


def admin_app(
    database: Database, report: Callable[[], StatusReport], redact: Redactor, sources: Sources | None = None
) -> FastAPI:
    """The app. ``report`` returns what the controller saw last; it raises PinrailError where that was nothing."""
    sources = sources or Sources()
    records = StateQueries(database)
    queries = AdminQueries(database, report, redact)
    metrics = Exposition(StateCollector(records, queries))
    app = FastAPI(
        title="Pinrail", description=DESCRIPTION, version="1", docs_url=None, redoc_url=None, openapi_url=OPENAPI
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    app.mount("/static", StaticFiles(directory=STATIC))
    app.middleware("http")(_guarded)
    app.add_exception_handler(sqlite3.Error, _unreadable)
    add_label_route(app, LogDirectories(database.path.parent), sources.labels_token)

    if sources.actions is not None:
        add_actions(app, queries, sources.actions)
    add_pages(app, queries, Details(database, queries, redact, sources))

    add_api(app, queries)

    @app.get("/healthz", summary="Whether this listener answers")
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get(
        "/readyz",
        summary="Whether the receiver can deploy",
        responses={503: {"description": "It cannot; each check says why."}},
    )
    def readyz() -> JSONResponse:
        checks = readiness(records, queries)
        ready = all(check == "ok" for check in checks.values())
        return JSONResponse({"status": "ok" if ready else "not ready", **checks}, 200 if ready else 503)

    @app.get("/metrics", summary="Metrics in Prometheus's text format")
    def prometheus() -> Response:
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    hide_pages(app)
    return app


def readiness(records: StateQueries, queries: AdminQueries) -> dict[str, str]:
    """What must work before this receiver can deploy: each check is ``ok`` or the reason why not."""
    try:
        overdue = records.overdue_seconds()
        has_run = records.last_job() is not None
    except sqlite3.Error as error:
        return {"state": f"the state file cannot be read: {error}"}
    fetcher = "ok" if has_run else "has not fetched the branch yet"
    given_up = next((job for job in queries.jobs() if job.state == "dead"), None)
    if given_up is not None:
        fetcher = f"the last fetch was given up: {given_up.note}"
    if overdue > OVERDUE_SECONDS:
        fetcher = f"a job has been due for {overdue:.0f} s and is not started"
    view = queries.environments()
    unknown = next((row.reason for row in view.environments if row.state == "unknown"), None)
    return {"state": "ok", "fetcher": fetcher, "servers": view.problem or unknown or "ok"}


async def _guarded(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers.update({**HEADERS, **response.headers})
    return response


async def _unreadable(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"the state file cannot be read: {error}"}, 503)
