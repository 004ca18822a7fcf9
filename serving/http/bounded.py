"""Bounds on what a stranger may hold open, for every listener that uvicorn runs here.

By itself uvicorn bounds no connection that stays silent before its first request, and no head, trailer or chunk
extension that never ends: whoever sends these could have every file descriptor and all memory.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

OPEN_FILES = 4096  # for all those connections, and what else a process has open


def allow_open_files() -> None:
    """Raise this process's limit of open files, as far as that is allowed: the usual one is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a cap on connections, on a request's time, and on bytes that are no body's."""

    connections_max = 1_200  # a burst of a thousand fits; more are closed at once
    request_seconds = 60.0  # from the first piece of a request that comes in pieces to its last
    loose_bytes_max = 64 * 1024  # of a head, of trailers, or of what is between chunks, in a row

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.begun = 0  # requests of which a byte was parsed
        self.read = 0  # requests that were parsed to their end
        self._deadline: asyncio.TimerHandle | None = None
        self._loose_bytes = 0  # since the last that ended a head, a message, or belonged to a body
        self._progressed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, with the keep-alive clock running; or close it when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            transport.abort()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and watch a request that is not whole after that."""
        self._progressed = False
        super().data_received(data)
        if self.begun != self.read:
            self._watch(len(data))
        elif self._deadline is not None:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._forget()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request's first byte was parsed."""
        self.begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """What belongs to a body is counted by whoever reads it."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's last byte was parsed."""
        self.read += 1
        super().on_message_complete()

    def _watch(self, size: int) -> None:
        self._loose_bytes = 0 if self._progressed else self._loose_bytes + size
        if self._loose_bytes > self.loose_bytes_max:
            self.transport.abort()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _forget(self) -> None:
        self._loose_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
