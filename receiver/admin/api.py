"""The JSON API, and its description: ``/api/openapi.json``. What it answers is in ``views.py``."""

from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse

from receiver.adapters.sqlite.cursor import Cursor
from receiver.adapters.sqlite.queries import DeliveryQuery, DeploymentQuery
from receiver.admin.queries import AdminQueries
from receiver.admin.views import DeliveriesView, DeploymentsView, EnvironmentsView, as_json
from receiver.core.deployment import Outcome
from receiver.core.errors import Rejected

OPENAPI = "/api/openapi.json"
DESCRIPTION = "What a receiver sees and has done. Lists are read page by page: send `next` of an answer as `cursor`."

Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
CursorText = Annotated[str | None, Query(max_length=60, description="`next` of the answer before.")]
Environment = Annotated[str | None, Query(max_length=64, description="Only this environment's.")]
Model = Annotated[str | None, Query(max_length=64, description="Only this model's.")]
UNKNOWN = "Servers or registry cannot be observed; `problem` says why, and the rest is what was seen last."


def add_api(app: FastAPI, queries: AdminQueries) -> None:
    """Let the app answer programs."""

    @app.get("/api/environments", responses=_answers(EnvironmentsView, {503: UNKNOWN}), summary="Every slot")
    def environments() -> JSONResponse:
        view = queries.environments()
        return JSONResponse(as_json(view), 503 if view.problem else 200)

    @app.get("/api/deployments", responses=_answers(DeploymentsView), summary="Deployments, newest first")
    def deployments(
        limit: Limit = 50,
        environment: Environment = None,
        model: Model = None,
        outcome: Annotated[Outcome | None, Query(description="Only those that ended so.")] = None,
        cursor: CursorText = None,
    ) -> JSONResponse:
        wanted = DeploymentQuery(limit, environment, model, outcome, _cursor(cursor))
        return JSONResponse(as_json(queries.deployments(wanted)))

    @app.get("/api/deliveries", responses=_answers(DeliveriesView), summary="Webhook deliveries, newest first")
    def deliveries(
        limit: Limit = 50,
        job: Annotated[int | None, Query(description="Only those that joined this job.")] = None,
        verdict: Annotated[str | None, Query(max_length=20, description="accepted, ignored or malformed.")] = None,
        cursor: CursorText = None,
    ) -> JSONResponse:
        return JSONResponse(as_json(queries.deliveries(DeliveryQuery(limit, job, verdict, _cursor(cursor)))))


def hide_pages(app: FastAPI) -> None:
    """Leave what is for people out of the description."""
    for route in app.routes:
        if not getattr(route, "path", "").startswith(("/api/", "/healthz", "/readyz", "/metrics")):
            route.include_in_schema = False  # type: ignore[attr-defined]


def _cursor(text: str | None) -> Cursor | None:
    try:
        return None if text is None else Cursor.read(text)
    except Rejected as error:
        raise HTTPException(422, str(error)) from error


def _answers(view: type[Any], others: dict[int, str] | None = None) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"model": view, "description": (view.__doc__ or "").replace("``", "`")},
        422: {"description": "A parameter is not allowed; `detail` says which, and why."},
        **{status: {"model": view, "description": text} for status, text in (others or {}).items()},
    }
