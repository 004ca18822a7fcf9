"""A server whose model is still being loaded: it answers, and says that it can't answer yet."""

# ruff: noqa: ASYNC110 - what is waited for is the state of the thing under test

import asyncio
import threading
from typing import Any

import pytest

from serving.app import ModelServer
from serving.lifecycle.loading import LoadingApp
from tests.support.asgi import asking


async def start(app: LoadingApp) -> asyncio.Queue[str]:
    """Tell the app that the server starts; put something into the queue to end it."""
    orders: asyncio.Queue[str] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()

    async def receive() -> Any:
        return {"type": await orders.get()}

    orders.put_nowait("lifespan.startup")
    task = asyncio.create_task(app({"type": "lifespan"}, receive, said.put))
    assert (await said.get())["type"] == "lifespan.startup.complete"
    orders.task = task  # type: ignore[attr-defined] # keeps it alive as long as the queue
    return orders


@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("POST", "/predict"), ("GET", "/else")])
def test_until_the_model_is_loaded_every_answer_is_a_503_that_says_when_to_ask_again(
    app: ModelServer, method: str, path: str
) -> None:
    loaded = threading.Event()

    def load() -> ModelServer:
        assert loaded.wait(10)
        return app

    async def run() -> None:
        loading = LoadingApp(load, pytest.fail)
        orders = await start(loading)
        early = await asking(loading, method, path)
        assert early.status == 503
        assert early.headers["retry-after"] == "1"
        assert early.json["status"] == "loading"
        loaded.set()
        while (await asking(loading, "GET", "/health")).status == 503:
            await asyncio.sleep(0.001)
        assert (await asking(loading, method, path)).status != 503
        orders.put_nowait("lifespan.shutdown")
        await orders.task  # type: ignore[attr-defined]

    asyncio.run(run())


def test_a_model_that_cannot_be_loaded_is_reported_to_whoever_runs_the_server() -> None:
    failures: asyncio.Queue[Exception] = asyncio.Queue()

    def load() -> Any:
        raise ValueError("no model")

    async def run() -> None:
        loading = LoadingApp(load, failures.put_nowait)
        orders = await start(loading)
        assert str(await asyncio.wait_for(failures.get(), 10)) == "no model"
        assert (await asking(loading, "GET", "/health")).status == 503
        orders.put_nowait("lifespan.shutdown")
        await orders.task  # type: ignore[attr-defined]

    asyncio.run(run())
