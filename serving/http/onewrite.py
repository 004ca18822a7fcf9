"""A whole response in one write: uvicorn writes head and body apart, and each write is a system call and a packet.

The protocol offers this as an ASGI extension, a function in the request's scope under ``extensions``;
:func:`serving.http.asgi.respond` calls it.
"""

from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from serving.http.asgi import ONE_WRITE, Headers
from serving.http.bounded import BoundedProtocol


class OneWriteProtocol(BoundedProtocol):
    """The bounded HTTP protocol with the extension, for POST requests, whose responses have a body."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: object) -> None:
        if cycle.scope["method"] == "POST":
            extensions: dict[str, Any] = {ONE_WRITE: partial(self._respond, cycle)}
            cycle.scope["extensions"] = extensions
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def _respond(self, cycle: RequestResponseCycle, status: int, content: bytes, headers: Headers) -> bool:
        """Do what ``cycle.send`` does, in one write. False: the client is slow to read, so use ``cycle.send``."""
        if cycle.flow.write_paused:
            return False
        if cycle.disconnected or cycle.transport.is_closing():
            cycle.disconnected = True
            return True  # the client is gone, or its connection was ended
        parts = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(content))
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        parts.append(content)
        cycle.scope["extensions"].clear()  # breaks the reference cycle, so that nothing is left for the collector
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True
