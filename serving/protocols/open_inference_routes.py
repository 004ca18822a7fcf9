"""The GET paths of the Open Inference Protocol: server metadata, health, model metadata."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from serving.batcher import Batcher
from serving.model.predictor import Predictor
from serving.protocols.open_inference import metadata


def routes(predictor: Predictor, batcher: Batcher, name: str, number: int) -> APIRouter:
    """The protocol's GET paths for one model."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    described = metadata(predictor, name, number)

    @router.get("")
    async def server() -> dict[str, Any]:
        return {"name": "pinrail", "version": _version(), "extensions": ["binary_tensor_data"]}

    @router.get("/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready")
    async def ready() -> JSONResponse:
        return _ready(batcher)

    @router.get("/models/{model}")
    @router.get("/models/{model}/versions/{of_version}")
    async def model(model: str, of_version: str = str(number)) -> JSONResponse:
        return JSONResponse(described) if (model, of_version) == (name, str(number)) else _unknown()

    @router.get("/models/{model}/ready")
    @router.get("/models/{model}/versions/{of_version}/ready")
    async def model_ready(model: str, of_version: str = str(number)) -> JSONResponse:
        return _ready(batcher) if (model, of_version) == (name, str(number)) else _unknown()

    @router.post("/models/{model}/infer", include_in_schema=False)
    @router.post("/models/{model}/versions/{of_version}/infer", include_in_schema=False)
    async def infer_elsewhere(model: str, of_version: str = "") -> JSONResponse:  # noqa: ARG001 - FastAPI fills them
        return _unknown()  # requests for this server's model are answered before routing

    return router


def _ready(batcher: Batcher) -> JSONResponse:
    return JSONResponse({"ready": not batcher.unresponsive}, 503 if batcher.unresponsive else 200)


def _unknown() -> JSONResponse:
    return JSONResponse({"error": "this server has no such model or version"}, 404)


def _version() -> str:
    try:
        return version("pinrail")
    except PackageNotFoundError:  # run from a checkout
        return "0"
