"""The little of HTTP that the scoring endpoints need, spoken to the ASGI server without a framework in between."""

from collections.abc import Sequence
from typing import Any

from starlette.types import Receive, Scope, Send

from serving.errors import RequestTooLargeError
from serving.schema import MAX_BODY_BYTES

ONE_WRITE = "pinrail.one_write"  # the name of serving.onewrite's extension
JSON = (b"content-type", b"application/json")
Headers = Sequence[tuple[bytes, bytes]]


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


async def read_body(receive: Receive) -> bytes:
    """The whole body of a request. RequestTooLargeError as soon as it is over the limit."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and message["type"] == "http.request" and len(body) <= MAX_BODY_BYTES:
        return body
    return await _read_on(receive, message)


async def _read_on(receive: Receive, message: Any) -> bytes:
    parts, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise RequestTooLargeError(f"the body is over {MAX_BODY_BYTES} bytes; send fewer rows at once")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


async def respond(scope: Scope, send: Send, status: int, content: bytes, headers: Headers = (JSON,)) -> None:
    """Send one whole answer, in one write where the server can do that."""
    extensions = scope.get("extensions")
    if extensions and ONE_WRITE in extensions and extensions[ONE_WRITE](status, content, headers):
        return
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", b"%d" % len(content)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": content})
