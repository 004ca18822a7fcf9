"""An answer leaves in one write: uvicorn writes head and body apart, and each write is a system call and a packet.

An application that has its whole answer finds a function for it in the request's scope, under ``extensions``: there
ASGI puts what one server can do and another can't. :func:`serving.http.asgi.respond` uses it.
"""

from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from serving.http.asgi import ONE_WRITE, Headers
from serving.http.bounded import BoundedProtocol


class OneWriteProtocol(BoundedProtocol):
    """The bounded HTTP protocol with this extension for POST, whose answers have a body."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: object) -> None:
        if cycle.scope["method"] == "POST":
            extensions: dict[str, Any] = {ONE_WRITE: partial(self._answer, cycle)}
            cycle.scope["extensions"] = extensions
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def _answer(self, cycle: RequestResponseCycle, status: int, content: bytes, headers: Headers) -> bool:
        """Do at once what ``cycle.send`` does in two steps; False: the client is slow to read its last answers."""
        if cycle.flow.write_paused:
            return False
        if cycle.disconnected:
            return True  # nobody is there to answer
        parts = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(content))
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        parts.append(content)
        cycle.scope[
            "extensions"
        ].clear()  # it holds this cycle, which holds the scope: nothing is left for the collector
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        cycle.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True
