"""The model server as an ASGI application. Scoring requests bypass FastAPI, which answers everything else."""

from dataclasses import asdict, dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving import openapi
from serving.batcher import Batcher
from serving.http.asgi import LIMITS
from serving.http.body import BodyReader
from serving.http.endpoint import Backend, Dialect, Endpoint
from serving.inference_log.log import InferenceLog
from serving.metrics import Metrics
from serving.model import model_dir
from serving.model.known_values import known_values
from serving.model.loader import Cache
from serving.model.predictor import Predictor
from serving.model.schema import RequestSchema
from serving.page import POLICY, page
from serving.protocols import open_inference_routes
from serving.protocols.invocations import InvocationsDialect
from serving.protocols.open_inference import InferDialect
from serving.protocols.predict import PredictDialect


@dataclass(frozen=True, slots=True)
class Identity:
    """What this server serves, as it was started; /health shows it."""

    model: str
    version: int
    digest: str  # "sha256:<hex>"
    environment: str
    stage: str | None
    revision: str | None  # the commit that pins it
    replica: int = 1  # which of several servers that share the requests


LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Health(BaseModel):
    """The response of /health while the server can answer predictions."""

    status: str
    stage: str | None
    environment: str
    model: str
    version: int
    run_id: str | None
    digest: str
    revision: str | None
    replica: int
    runtime: str


class ModelServer:
    """An ASGI application for one loaded model."""

    def __init__(
        self, identity: Identity, predictor: Predictor, log: InferenceLog | None = None, dashboard: str = ""
    ) -> None:
        labels = {"environment": identity.environment, "model": identity.model, "version": str(identity.version)}
        self.metrics = Metrics(labels)
        self.batcher = Batcher(predictor, metrics=self.metrics)
        if log is not None:
            self.metrics.log = log.metrics
        name, number = identity.model, identity.version
        self._backend = Backend(BodyReader(LIMITS), self.batcher, self.metrics, number, log)
        schema = RequestSchema(predictor.model)
        infer = self._endpoint("infer", InferDialect(schema, predictor.model, name, number))
        self._scoring = {
            "/predict": self._endpoint("predict", PredictDialect(schema, name, number)),
            "/invocations": self._endpoint("invocations", InvocationsDialect(predictor.model)),
            f"/v2/models/{name}/infer": infer,
            f"/v2/models/{name}/versions/{number}/infer": infer,
        }
        self._others = _other_paths(identity, predictor, self.batcher, dashboard)
        for path, endpoint in self._scoring.items():
            # Here as well, so that FastAPI knows all paths and methods when it answers 404 and 405.
            self._others.router.routes.append(Route(path, endpoint, methods=["POST"]))
        self._others.include_router(open_inference_routes.routes(predictor, self.batcher, name, number))

    def _endpoint(self, name: str, dialect: Dialect) -> Endpoint:
        return Endpoint(name, dialect, self._backend)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. A scoring request skips middleware and routing."""
        if scope["type"] == "http" and scope["method"] == "POST" and (app := self._scoring.get(scope["path"])):
            await app(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "HEAD":
            await self._others({**scope, "method": "GET"}, receive, send)  # uvicorn leaves out the body
        else:
            await self._others(scope, receive, send)


def build_app(
    identity: Identity, predictor: Predictor, log: InferenceLog | None = None, dashboard: str = ""
) -> ModelServer:
    """The application that serves this predictor under this identity, and records what it answers in ``log``.

    ``dashboard``: where the receiver shows the model, an address of this machine; empty: nowhere.
    """
    return ModelServer(identity, predictor, log, dashboard)


def _other_paths(identity: Identity, predictor: Predictor, batcher: Batcher, dashboard: str) -> FastAPI:
    app = FastAPI(
        title=identity.model,
        version=str(identity.version),
        summary=f"Version {identity.version} of {identity.model} in {identity.environment}",
        docs_url=None,  # its page loads scripts from another host
        redoc_url=None,
        redirect_slashes=False,
    )
    health = Health(status="ok", run_id=predictor.model.run_id, runtime=predictor.runtime.name, **asdict(identity))

    @app.get("/health", responses={503: {"description": "The model does not answer", "model": dict[str, str]}})
    async def get_health() -> Health:
        """What is served here; 503 while the model does not answer."""
        if batcher.unresponsive:
            raise HTTPException(503, "the model has been busy with one request for too long")
        return health

    example = model_dir.input_example(predictor.model.path)
    measured = Cache(predictor.model.path.parent).metrics_of(identity.model, identity.version)
    facts = health.model_dump(exclude={"status"})
    known = known_values(predictor.model)
    described_by = predictor.model.columns, example[0] if example else {}, measured, known
    shown = {here: page(facts, *described_by, dashboard=dashboard if here else "") for here in (True, False)}

    @app.get("/", include_in_schema=False)
    async def get_page(request: Request) -> HTMLResponse:
        here = request.url.hostname in LOOPBACK  # elsewhere that address names the visitor's own machine
        return HTMLResponse(shown[here], headers={"Content-Security-Policy": POLICY})

    described: dict[str, Any] = {}

    def describe() -> dict[str, Any]:
        if not described:
            described.update(FastAPI.openapi(app))
            described["paths"]["/predict"] = {"post": openapi.predict_operation(predictor.model, example)}
            described["paths"]["/invocations"] = {"post": openapi.invocations_operation()}
            described["paths"][f"/v2/models/{identity.model}/infer"] = {"post": openapi.infer_operation()}
            described["components"]["schemas"].update(openapi.request_schemas(predictor.model.columns))
        return described

    app.openapi = describe  # type: ignore[method-assign] # FastAPI's documented way to extend it
    return app
