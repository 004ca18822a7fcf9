"""A small server on a real socket under one of serving's HTTP protocols, and raw questions to it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import Receive, Scope, Send

from serving.http.asgi import LIMITS, read_body, respond
from serving.http.body import BodyReader

BODIES = BodyReader(LIMITS)
LAST = "Connection: close\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a body with itself, a number with so many bytes, and nothing with a refusal."""
    body = await read_body(BODIES, scope, receive)
    content = b"x" * int(body) if body.isdigit() else body
    await respond(scope, send, 200 if body else 422, content)


@asynccontextmanager
async def serving(protocol: type[asyncio.Protocol], keep_alive: int = 5) -> AsyncIterator[tuple[str, int]]:
    """A server of the echo under this protocol; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        echo,
        http=protocol,
        lifespan="off",
        log_level="error",
        server_header=False,
        date_header=False,
        timeout_keep_alive=keep_alive,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, 20)


def request(body: bytes, method: str = "POST", version: str = "1.1", extra: str = "") -> bytes:
    """A request as bytes."""
    head = f"{method} / HTTP/{version}\r\nHost: test\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


async def answer(address: tuple[str, int], asked: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(asked)
    said = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return said
