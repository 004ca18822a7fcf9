"""The control socket of a model server: one JSON object per line each way, file descriptors beside it.

The protocol, over a Unix stream socket that only its owner can open, one question per connection:

- ``{"do": "status"}``: role, process id, private URL, health.
- ``{"do": "take"}``, with the listening socket of the public port the first time: start accepting on it.
- ``{"do": "stand-by", "to": PATH}``: stop accepting, hand open connections to the server whose control socket is at
  PATH, and answer when nothing is in flight any more. The listening socket stays open: who still comes, waits.
- ``{"do": "give"}``: a copy of the listening socket, for a newer server.
- ``{"do": "adopt"}``, with connections: go on with them. From one server to the next.
- ``{"do": "exit"}``: answer what is in flight, then end.

An answer of ``{"error": TEXT}`` refuses.
"""

import asyncio
import contextlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_FDS = 200  # in one message; Linux allows 253
MAX_LINE = 1 << 20
LONGEST_ADDRESS = 100  # bytes; Linux allows 107 in sun_path, macOS 103


class ControlError(Exception):
    """The server refused what it was told, or answered something that is no answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, the descriptors that go with it, and what to do once it is sent."""

    body: dict[str, Any]
    fds: Sequence[int] = ()
    then: Callable[[], None] = field(default=lambda: None)


Handler = Callable[[dict[str, Any], list[int]], Awaitable[Reply]]


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """The socket at ``path`` under a name that fits into a socket address, however long the path is."""
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="pinrail-") as directory:
        link = Path(directory, "d")
        link.symlink_to(path.parent.absolute())
        yield str(link / path.name)


def listen(path: Path) -> socket.socket:
    """A control socket at ``path`` that only this user can open. OSError: no such directory, or it is taken."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o177)
        try:
            with address(path) as name:
                listening.bind(name)
        finally:
            os.umask(before)
        listening.listen()
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def ask(
    path: Path, request: dict[str, Any], *, fds: Sequence[int] = (), timeout: float = 1.0
) -> tuple[dict[str, Any], list[int]]:
    """Put one question to the server at ``path``; the answer, and descriptors that are the caller's to close.

    Raises:
        FileNotFoundError, ConnectionError: no server is there (any more).
        TimeoutError: no answer within ``timeout`` seconds.
        ControlError: the server refuses.
    """
    deadline = time.monotonic() + timeout
    got: list[int] = []
    data = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        with address(path) as name:
            connection.connect(name)
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], fds)
        while not data.endswith(b"\n"):
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            chunk, more, _, _ = socket.recv_fds(connection, 65536, MAX_FDS)
            got += more
            data += chunk
            if not chunk:
                raise ConnectionResetError(f"the server at {path} ended while it was asked to {request['do']}")
    body = _parse(data)
    if "error" in body:
        _close(got)
        raise ControlError(str(body["error"]))
    return body, got


async def serve(listening: socket.socket, handler: Handler) -> None:
    """Answer questions for as long as this task lives."""
    loop = asyncio.get_running_loop()
    open_now: set[asyncio.Task[None]] = set()
    while True:
        try:
            connection, _ = await loop.sock_accept(listening)
        except OSError:  # out of descriptors, or who asked went away: the next one is answered
            await asyncio.sleep(0.1)
            continue
        task = loop.create_task(_answer(connection, handler))
        open_now.add(task)
        task.add_done_callback(open_now.discard)


async def _answer(connection: socket.socket, handler: Handler) -> None:
    with connection, contextlib.suppress(OSError):  # who asked has gone: nobody to tell
        connection.setblocking(False)
        fds: list[int] = []
        try:
            request, fds = await _receive(connection)
            reply = await handler(request, fds)
        except (ControlError, OSError, KeyError, TypeError, ValueError) as error:
            _close(fds)
            reply = Reply({"error": f"{error}" if isinstance(error, ControlError) else repr(error)})
        # A few hundred bytes always fit into a fresh socket's buffer.
        socket.send_fds(connection, [json.dumps(reply.body).encode() + b"\n"], reply.fds)
        reply.then()


async def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    data, fds = b"", list[int]()
    while not data.endswith(b"\n"):
        await _readable(connection)
        chunk, more, _, _ = socket.recv_fds(connection, 65536, MAX_FDS)
        fds += more
        data += chunk
        if not chunk or len(data) > MAX_LINE:
            break
    try:
        return _parse(data), fds
    except ControlError:
        _close(fds)
        raise


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection.fileno())


def _parse(line: bytes) -> dict[str, Any]:
    try:
        body = json.loads(line)
    except ValueError as error:
        raise ControlError(f"expected one line of JSON: {error}") from error
    if not isinstance(body, dict):
        raise ControlError("expected a JSON object")
    return body


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
