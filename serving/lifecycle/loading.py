"""An app that answers 503 while the model is loading."""

import asyncio
import gc
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http.asgi import respond

NOT_YET = b'{"status":"loading","detail":"the model is being loaded; try again in a second"}'
NOT_YET_HEADERS = ((b"content-type", b"application/json"), (b"retry-after", b"1"))


class LoadingApp:
    """Answers 503 until ``load``, which runs in a thread, has returned the real app; then passes requests to it."""

    def __init__(self, load: Callable[[], ASGIApp], on_failure: Callable[[Exception], None]) -> None:
        """``on_failure`` is called in the event loop with what ``load`` raised."""
        self._load = load
        self._on_failure = on_failure
        self._app: ASGIApp | None = None

    @property
    def ready(self) -> bool:
        """The app has been loaded."""
        return self._app is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or handle the ASGI server's lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        else:
            await respond(scope, send, 503, NOT_YET, NOT_YET_HEADERS)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        loading = asyncio.create_task(self._load_app())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        loading.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _load_app(self) -> None:
        try:
            app = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - the caller decides what to do about it
            self._on_failure(error)
        else:
            # The loaded model is never garbage, so the collector need not scan it again.
            gc.collect()
            gc.freeze()
            self._app = app
