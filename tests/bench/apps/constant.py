"""The ceiling: an ASGI app that answers the same to everything, and looks at nothing."""

from typing import Any

ANSWER = b'{"model":"bench-churn","version":1,"predictions":[0],"probabilities":[[0.7712345,0.2287655]]}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}
BODY = {"type": "http.response.body", "body": ANSWER}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send(START)
        await send(BODY)
