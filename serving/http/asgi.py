"""Reading a request and sending a response through plain ASGI: all that the scoring endpoints need of HTTP."""

from collections.abc import Sequence

from starlette.types import Receive, Scope, Send

from serving.errors import OverloadedError, RequestTooLargeError, RequestTooSlowError
from serving.http.body import BodyLimits, BodyReader, TooBusy, TooLarge, TooSlow
from serving.model.schema import MAX_BODY_BYTES

ONE_WRITE = "pinrail.one_write"  # the ASGI extension of serving.http.onewrite
JSON = (b"content-type", b"application/json")
Headers = Sequence[tuple[bytes, bytes]]


# With the queue's limits, these bound a server's memory. A sender at 0.6 MB/s meets the deadline.
LIMITS = BodyLimits(body_bytes=MAX_BODY_BYTES, body_seconds=30.0, budget_bytes=256 << 20, linger_bytes=0)


async def read_body(bodies: BodyReader, scope: Scope, receive: Receive) -> bytes:
    """The whole body of a request.

    RequestTooLargeError, RequestTooSlowError, OverloadedError: it exceeds a limit.
    serving.http.body.Gone: the client disconnected.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and message["type"] == "http.request" and len(body) <= MAX_BODY_BYTES:
        return body
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
    try:
        return await bodies.read(receive, declared, message)
    except TooLarge:
        raise RequestTooLargeError(f"the body is over {MAX_BODY_BYTES} bytes; send fewer rows at once") from None
    except TooSlow:
        raise RequestTooSlowError(f"the body did not arrive within {LIMITS.body_seconds:g} s") from None
    except TooBusy:
        raise OverloadedError("too many request bodies are in memory; try again in a second") from None


async def respond(scope: Scope, send: Send, status: int, content: bytes, headers: Headers = (JSON,)) -> None:
    """Send a complete response, in one write if the ASGI server supports that."""
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
