"""How the public listener is run: by uvicorn, with bounds on what a stranger may hold open."""

import asyncio

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.intake.app import PublicApp

CONNECTIONS = 1_200  # a burst of a thousand deliveries fits; more are closed at once
HEADER_SECONDS = 10.0
LOOSE_BYTES = 64 * 1024  # of heads, trailers and what is between chunks, in a row


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a cap on open connections, on a head's time, and on bytes that are no body's.

    By itself it bounds requests only: whoever opens connections and stays silent, or sends headers, extensions of
    chunks or trailers without end, could have every file descriptor and all memory.
    """

    _deadline: asyncio.TimerHandle | None = None
    _loose_bytes = 0  # since the last that ended a head, a message, or belonged to a body
    _progressed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and watch as long as that does not complete a request's headers."""
        self._progressed = False
        super().data_received(data)
        self._loose_bytes = 0 if self._progressed else self._loose_bytes + len(data)
        if self._loose_bytes > LOOSE_BYTES:
            self.transport.abort()
        if self._in_request():
            self._forget()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._forget()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """What belongs to a body is counted by the app."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A message has ended, with its trailers."""
        self._progressed = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Between requests the keep-alive timeout watches."""
        self._forget()
        super().on_response_complete()

    def _in_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def server_config(app: PublicApp, port: int) -> uvicorn.Config:
    """The public listener on ``127.0.0.1``: the tunnel's end is on this machine.

    No ``Server`` header, no forwarded headers, no access log (the app logs what it takes), no websockets.
    """
    return uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
    )
