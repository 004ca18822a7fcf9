"""A server that listens before its model is loaded, and says so to whoever asks."""

import asyncio
import gc
import logging
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.http.asgi import respond

log = logging.getLogger(__name__)

NOT_YET = b'{"status":"loading","detail":"the model is being loaded; try again in a second"}'
NOT_YET_HEADERS = ((b"content-type", b"application/json"), (b"retry-after", b"1"))


class LoadingApp:
    """Answers 503 to everything until ``load``, which runs in a thread, has returned the app that takes over."""

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
        """Answer a request, or follow the ASGI server's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)
        else:
            await respond(scope, send, 503, NOT_YET, NOT_YET_HEADERS)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        loading = asyncio.create_task(self._become_ready())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        loading.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _become_ready(self) -> None:
        try:
            app = await asyncio.to_thread(self._load)
        except Exception as error:  # noqa: BLE001 - whoever runs this server decides what it means
            self._on_failure(error)
        else:
            # What a loaded model is made of stays: looking through it for garbage again and again takes time.
            gc.collect()
            gc.freeze()
            self._app = app
