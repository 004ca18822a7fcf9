"""Asking an ASGI app without a socket, as an ASGI server would."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, strictly: NaN and Infinity are no JSON."""
        return json.loads(self.body, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def ask(app: ASGIApp, method: str, path: str, body: bytes | Iterable[bytes] = b"", **headers: str) -> Answer:
    """One request in an event loop of its own; a body of several parts arrives in as many messages."""
    return asyncio.run(asking(app, method, path, body, **headers))


async def asking(app: ASGIApp, method: str, path: str, body: bytes | Iterable[bytes] = b"", **headers: str) -> Answer:
    """One request in the running event loop."""
    parts = [body] if isinstance(body, bytes) else list(body)
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await app(scope, receive, send)
    head, rest = said[0], said[1:]
    fields = {name.decode().lower(): value.decode() for name, value in head["headers"]}
    return Answer(head["status"], fields, b"".join(part.get("body", b"") for part in rest))


def post(app: ASGIApp, path: str, body: Any, **headers: str) -> Answer:
    """Send this as JSON; bytes are sent as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(app, "POST", path, content, **{"content_type": "application/json", **headers})
