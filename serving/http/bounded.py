"""Limits on connections and requests, for every listener that uvicorn runs here.

uvicorn itself limits neither a connection that is silent before its first request, nor a head, trailer or chunk
extension that never ends. A client that sends these could use up all file descriptors and all memory.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

OPEN_FILES = 4096  # for the connections, and what else a process has open


def allow_open_files() -> None:
    """Raise this process's limit of open files, as far as allowed; the usual one is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits on connections, on a request's time, and on bytes outside a body."""

    connections_max = 1_200  # a burst of a thousand fits; further ones are closed at once
    request_seconds = 60.0  # from the first to the last segment of a request that comes in several
    loose_bytes_max = 64 * 1024  # in a row: a head, trailers, or what is between chunks

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.begun = 0  # requests whose first byte was parsed
        self.read = 0  # requests whose last byte was parsed
        self._deadline: asyncio.TimerHandle | None = None
        self._loose_bytes = 0  # since the end of a head or message, or the last byte of a body
        self._progressed = False
        self._malformed: str | None = None  # what is said of it once the requests before it are answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection and start its keep-alive timer, or close it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            transport.abort()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and set a deadline if the request is incomplete after that."""
        if self._malformed is not None:
            return
        self._progressed = False
        super().data_received(data)
        if self.begun != self.read:
            self._limit(len(data))
        elif self._deadline is not None:
            self._cancel_deadline()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, after the answers to the requests before it in the same segment."""
        cycle = self.cycle
        waiting = cycle is not None and not cycle.response_complete
        if waiting and cycle.more_body:  # the malformed request itself, whose head was fine
            waiting = bool(self.pipeline)
            if waiting:
                self.pipeline.popleft()
        if waiting:
            self._malformed = msg
            self.flow.pause_reading()
        else:
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        """Answer the next request, or refuse what follows the last one."""
        last = not self.pipeline
        super().on_response_complete()
        if self._malformed is None or self.transport.is_closing():
            return
        if last:
            super().send_400_response(self._malformed)
        else:
            self.flow.pause_reading()

    def _unsupported_upgrade_warning(self) -> None:
        """Any client may ask for an upgrade; that is answered as a request without one, and not logged."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request's first byte was parsed."""
        self.begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The end of a head was parsed."""
        self._progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body have their own limit, in ``serving.http.body``."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's last byte was parsed."""
        self.read += 1
        super().on_message_complete()

    def _limit(self, size: int) -> None:
        self._loose_bytes = 0 if self._progressed else self._loose_bytes + size
        if self._loose_bytes > self.loose_bytes_max:
            self.transport.abort()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.request_seconds, self.transport.abort)

    def _cancel_deadline(self) -> None:
        self._loose_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
