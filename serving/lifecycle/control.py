"""The control socket of a model server: commands and replies as JSON lines, with file descriptors beside them.

The protocol, over a Unix stream socket that only its owner can open, one command per connection:

- ``{"do": "status"}``: role, process id, private URL, health.
- ``{"do": "hold"}``, with a descriptor: keep it open until the end, in place of the one held before. It carries the
  lock of a record that the receiver has written anew.
- ``{"do": "take"}``: accept on the public port. The first time, its listening socket comes along.
- ``{"do": "stand-by", "to": PATH, "also": [PATH]}``: stop accepting, hand open connections to the server whose
  control socket is at PATH and, in turn, to those that ``also`` names, and reply when no request is in flight. The
  listening socket stays open: new clients wait in its backlog. With descriptors, the connections go over those
  instead: each is the other end of what another server got with "expect".
- ``{"do": "give"}``: reply with a copy of the listening socket, for a newer server.
- ``{"do": "adopt"}``, with connections: continue them. Sent by one server to the next.
- ``{"do": "expect"}``, with a connection: answer commands to adopt on it, and no others. So a confined server, which
  cannot open the next one's control socket, hands over, and can order it about no further.
- ``{"do": "exit"}``: answer the requests in flight, then exit.

A reply of ``{"error": TEXT}`` is a refusal. The words of the protocol never change: receiver and servers are upgraded
separately.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_FDS = 200  # in one message; Linux allows 253
MAX_LINE = 1 << 20
CHECK_SECONDS = 0.5  # how often to see whether the socket is still there
LONGEST_ADDRESS = 100  # bytes; Linux allows 107 in sun_path, macOS 103


class ControlError(Exception):
    """The server refused a command, or its reply is malformed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, the descriptors sent with it, and what to do after it was sent."""

    body: dict[str, Any]
    fds: Sequence[int] = ()
    then: Callable[[], None] = field(default=lambda: None)


Handler = Callable[[dict[str, Any], list[int]], Awaitable[Reply]]


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """A name for the socket at ``path`` that fits into a socket address, however long the path is."""
    if len(os.fsencode(path)) <= LONGEST_ADDRESS:
        yield str(path)
        return
    if sys.platform == "linux":
        parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{parent}/{path.name}"
        finally:
            os.close(parent)
        return
    with tempfile.TemporaryDirectory(prefix="pinrail-") as directory:
        link = Path(directory, "d")
        link.symlink_to(path.parent.absolute())
        yield str(link / path.name)


def listen(path: Path) -> socket.socket:
    """A control socket at ``path`` that only this user can open. OSError: no such directory, or the path is taken."""
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
    """Send one command to the server at ``path``; returns its reply, and descriptors that the caller has to close.

    Raises:
        FileNotFoundError, ConnectionError: no server listens there, or it ended.
        TimeoutError: no reply within ``timeout`` seconds.
        ControlError: the server refuses, it is another user's or process than it says, or its reply is malformed.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        with address(path) as name:
            connection.connect(name)
        listener = _listener(connection)
        body, got = ask_on(connection, request, fds=fds, timeout=timeout)
    said = body.get("pid", listener)
    if listener is not None and said not in {listener, _parent(listener)}:  # a confined server's listens for it
        close(got)
        raise ControlError(f"it says that it is process {said}, and is process {listener}")
    return body, got


def ask_on(
    connection: socket.socket, request: dict[str, Any], *, fds: Sequence[int] = (), timeout: float = 1.0
) -> tuple[dict[str, Any], list[int]]:
    """Send one command over an open connection; returns and raises as :func:`ask` does."""
    deadline = time.monotonic() + timeout
    got: list[int] = []
    data = b""
    connection.settimeout(timeout)
    socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], fds)
    while not data.endswith(b"\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        chunk, more, _, _ = socket.recv_fds(connection, 65536, MAX_FDS)
        got += more
        data += chunk
        if len(data) > MAX_LINE:
            close(got)
            raise ControlError("the reply is too long")
        if not chunk:
            raise ConnectionResetError(f"the server ended before it replied to {request['do']}")
    body = _parse(data)
    if "error" in body:
        close(got)
        raise ControlError(str(body["error"]))
    return body, got


def _listener(connection: socket.socket) -> int | None:
    """The process at the other end; None where the system does not say. ControlError: it is another user's."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid != os.geteuid():
        raise ControlError(f"process {pid}, which listens there, is user {uid}'s")
    return int(pid)


def _parent(pid: int) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


async def serve_at(path: Path, listening: socket.socket, handler: Handler) -> None:
    """Answer commands at ``path`` until this task is cancelled.

    Where the socket is removed with its directory, it is opened anew as soon as there is such a directory again: the
    receiver's next state directory finds this server there.
    """
    while True:
        answering = asyncio.create_task(serve(listening, handler))
        try:
            while path.exists():  # noqa: ASYNC110, ASYNC240 - a stat, now and then
                await asyncio.sleep(CHECK_SECONDS)
        finally:
            answering.cancel()
            listening.close()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            with contextlib.suppress(OSError):
                listening = listen(path)
                break


async def serve(listening: socket.socket, handler: Handler) -> None:
    """Answer commands until this task is cancelled."""
    loop = asyncio.get_running_loop()
    connections: set[asyncio.Task[None]] = set()
    while True:
        try:
            connection, _ = await loop.sock_accept(listening)
        except OSError:  # out of descriptors, or the client is gone: go on with the next one
            await asyncio.sleep(0.1)
            continue
        task = loop.create_task(_answer(connection, handler))
        connections.add(task)
        task.add_done_callback(connections.discard)


async def serve_passed(channel: socket.socket, handler: Handler) -> None:
    """Answer commands on the connections that arrive on ``channel``, until this task is cancelled."""
    connections: set[asyncio.Task[None]] = set()
    channel.setblocking(False)
    while True:
        await _readable(channel)
        data, fds, _, _ = socket.recv_fds(channel, 1, 1)
        if not data:
            return
        for fd in fds:
            task = asyncio.get_running_loop().create_task(_answer(socket.socket(fileno=fd), handler))
            connections.add(task)
            task.add_done_callback(connections.discard)


async def serve_on(connection: socket.socket, handler: Handler) -> None:
    """Answer commands on one connection, one after another, until it ends."""
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        while True:
            await _answer_one(connection, handler)


async def _answer(connection: socket.socket, handler: Handler) -> None:
    with connection, contextlib.suppress(OSError):  # the client is gone
        connection.setblocking(False)
        await _answer_one(connection, handler)


async def _answer_one(connection: socket.socket, handler: Handler) -> None:
    fds: list[int] = []
    try:
        request, fds = await _receive(connection)
        reply = await handler(request, fds)
    except (ControlError, OSError, KeyError, TypeError, ValueError) as error:
        close(fds)
        reply = Reply({"error": f"{error}" if isinstance(error, ControlError) else repr(error)})
    # A few hundred bytes always fit into the buffer of a new socket.
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
        close(fds)
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


def close(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)
