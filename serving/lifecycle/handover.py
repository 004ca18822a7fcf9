"""The handover of a public port, and of its open connections, from one running server to the next.

The listening socket outlives servers. So does an idle connection: its descriptor is passed to the next server, and
the client does not notice. A request in flight is answered by the server that received it, with ``Connection:
close``. No connection is cut.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import uvicorn

from serving.http.onewrite import OneWriteProtocol
from serving.lifecycle.control import MAX_FDS, ControlError, ask, ask_on
from serving.lifecycle.shared_accept import NOT_ACCEPTING, ConnectionCounts, SharedAcceptor

KEEP_ALIVE_SECONDS = 75  # nginx's: longer than clients and proxies keep an idle connection for reuse
LINGER_SECONDS = KEEP_ALIVE_SECONDS + 5  # an idle connection that no server adopted has timed out by then
SETTLE_SECONDS = 5.0  # how long draining waits for requests in flight
ADOPT_SECONDS = 5.0
BACKLOG = 2048
POLL_SECONDS = 0.005

Successor = Path | socket.socket  # its control socket's path, or an open connection on which it expects connections


class ListenerRole(StrEnum):
    """What a server does with its public port; the words of the control socket's status."""

    CANDIDATE = "candidate"  # has not accepted on it yet
    LIVE = "live"  # accepts on it
    STANDBY = "standby"  # accepted on it before, and can again
    LEAVING = "leaving"  # exits after its last answer


class Connection(OneWriteProtocol):
    """A client's connection to the public port. Between two requests it can move to another server."""

    def __init__(self, listener: "PublicListener") -> None:
        server = listener.server
        super().__init__(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)
        self.listener = listener
        self.answered = 0

    @property
    def between_requests(self) -> bool:
        """No part of a request or of a response is held here."""
        return (
            self.begun == self.read == self.answered
            and not self.transport.is_closing()
            and self.transport.get_write_buffer_size() == 0
        )

    @property
    def in_flight(self) -> bool:
        """A request's head was parsed, and its response is not complete."""
        return self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing()

    def close_after_answer(self) -> None:
        """Send ``Connection: close`` with the response in flight, if its head is not sent yet."""
        if self.in_flight and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Add the connection to its listener's."""
        super().connection_made(transport)
        self.listener.connections.add(self)
        self.listener.note_connections()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove it from its listener's."""
        self.listener.connections.discard(self)
        self.listener.note_connections()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A request's head was parsed. If another server has the port by now, this response closes the connection."""
        super().on_headers_complete()
        if self.listener.role is not ListenerRole.LIVE:
            self.close_after_answer()

    def on_response_complete(self) -> None:
        """A response's last byte was written."""
        self.answered += 1
        super().on_response_complete()


class PublicListener:
    """The public port of one model server: role, listening socket and open connections."""

    def __init__(self, server: uvicorn.Server, counts: ConnectionCounts | None = None) -> None:
        """``counts``: where other servers accept on the same socket."""
        self.server = server
        self._counts = counts
        self.role = ListenerRole.CANDIDATE
        self.since = time.monotonic()  # when the role began; comparable between processes of one machine
        self.connections: set[Connection] = set()
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Server | SharedAcceptor | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._adopting: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """How many requests from the public port are not answered yet."""
        return sum(connection.in_flight for connection in self.connections)

    @property
    def port(self) -> int | None:
        """The public port, if its listening socket is held here, accepting or not."""
        return None if self._listening is None else int(self._listening.getsockname()[1])

    async def activate(self, listening: socket.socket | None) -> None:
        """Start to accept, on this socket or on the one that is held already. ControlError: there is none."""
        if self.role is ListenerRole.LEAVING:
            raise ControlError("take: this server is shutting down")
        if listening is not None:
            if self._listening is not None:
                self._listening.close()
            self._listening = listening
        if self._listening is None:
            raise ControlError(
                "take: this server holds no listening socket; pass the listening socket with the command"
            )
        if self._accepting is None:
            self._accepting = await self._accept_on(self._listening.dup())
            self.server.servers.append(self._accepting)  # type: ignore[arg-type] # uvicorn closes it in the end
            self.note_connections()
        self._set_role(ListenerRole.LIVE)

    async def _accept_on(self, listening: socket.socket) -> "asyncio.Server | SharedAcceptor":
        if self._counts is not None:
            return SharedAcceptor(listening, self._counts, self._continue)
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: Connection(self), sock=listening, backlog=BACKLOG)

    def note_connections(self) -> None:
        """Let the other servers on the same socket know how many connections are open here."""
        if self._counts is not None:
            accepts = self._accepting is not None
            self._counts.note(len(self.connections) if accepts else NOT_ACCEPTING)

    def share_socket(self) -> int:
        """The listening socket's descriptor, which stays open here. ControlError: there is none."""
        if self._listening is None:
            raise ControlError("give: this server never had a listening socket")
        return self._listening.fileno()

    async def drain(self, successors: Sequence[Successor] = ()) -> None:
        """Stop accepting and hand over idle connections; returns when none is in flight, or after SETTLE_SECONDS.

        Open connections to successors are closed then.
        """
        with contextlib.ExitStack() as opened:
            for successor in successors:
                if isinstance(successor, socket.socket):
                    opened.enter_context(successor)
            await self._drain(successors)

    async def _drain(self, successors: Sequence[Successor]) -> None:
        if self.role is ListenerRole.LIVE:
            self._stop_accepting()
            self._set_role(ListenerRole.STANDBY)
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.role is ListenerRole.STANDBY:
            successors = await self._hand_over(successors)
            # A connection that was accepted just before appears in this time.
            await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() > deadline or not (self.in_flight or (successors and self._idle())):
                break

    def adopt(self, fds: Sequence[int]) -> Callable[[], None]:
        """Take over these connections; calling the result starts to read from them.

        The reply is sent between the two. With the reply the sender closes its copies; if this server dies before
        it, nothing was read here, and the sender continues. ControlError: this server does not accept connections.
        """
        if self.role is not ListenerRole.LIVE:
            raise ControlError(f"adopt: this server is {self.role}, and only a live one adopts connections")
        adopted = [socket.socket(fileno=fd) for fd in fds]

        def start() -> None:
            for connection in adopted:
                connection.setblocking(False)
                task = asyncio.get_running_loop().create_task(self._continue(connection))
                self._adopting.add(task)
                task.add_done_callback(self._adopting.discard)

        return start

    def shut_down(self) -> None:
        """Release the port, and exit after the last response, or when the remaining connections have timed out."""
        if self._leaving is None:
            self._set_role(ListenerRole.LEAVING)
            self._stop_accepting()
            if self._listening is not None:
                self._listening.close()
                self._listening = None
            self._leaving = asyncio.get_running_loop().create_task(self._linger())

    async def _linger(self) -> None:
        deadline = time.monotonic() + LINGER_SECONDS
        while self.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - connections come and go
            await asyncio.sleep(POLL_SECONDS)
        self.server.should_exit = True

    async def _continue(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client disconnected meanwhile
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(self), connection)

    async def _hand_over(self, successors: Sequence[Successor]) -> Sequence[Successor]:
        """Hand over the idle connections, to each successor as many; returns those that took theirs, in rotation."""
        idle = self._idle()
        shares = [idle[place :: len(successors)] for place in range(len(successors))]
        took = [path for path, share in zip(successors, shares, strict=True) if await self._hand_to(path, share)]
        return [*took[1:], *took[:1]]

    async def _hand_to(self, successor: Successor, share: Sequence[Connection]) -> bool:
        """Hand over these connections. False: the successor refuses them, or is gone."""
        for start in range(0, len(share), MAX_FDS):
            # What was handed over before took a moment, in which a request may have begun on these.
            batch = [connection for connection in share[start : start + MAX_FDS] if connection.between_requests]
            for connection in batch:
                connection.transport.pause_reading()  # bytes that arrive from now on stay in the kernel
            fds = [os.dup(c.transport.get_extra_info("socket").fileno()) for c in batch]
            try:
                await asyncio.to_thread(_send, successor, fds)
            except TimeoutError:
                # The successor may have them: two readers on one connection would be worse than a lost one.
                _release(batch)
            except (OSError, ControlError):
                for connection in batch:
                    connection.transport.resume_reading()
                return False
            else:
                _release(batch)
            finally:
                for fd in fds:
                    os.close(fd)
        return True

    def _idle(self) -> list[Connection]:
        return [connection for connection in self.connections if connection.between_requests]

    def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.close()
            self.server.servers.remove(self._accepting)  # type: ignore[arg-type]
            self._accepting = None
            self.note_connections()

    def _set_role(self, role: ListenerRole) -> None:
        if role is not self.role:
            self.role, self.since = role, time.monotonic()
        if role is not ListenerRole.LIVE:
            for connection in self.connections:
                connection.close_after_answer()

    def status(self) -> dict[str, Any]:
        """The public port's part of the control socket's status."""
        return {
            "role": self.role,
            "since": self.since,
            "port": self.port,
            "in_flight": self.in_flight,
            "open": len(self.connections),
        }


def _send(successor: Successor, fds: Sequence[int]) -> None:
    if isinstance(successor, Path):
        ask(successor, {"do": "adopt"}, fds=fds, timeout=ADOPT_SECONDS)
    else:
        ask_on(successor, {"do": "adopt"}, fds=fds, timeout=ADOPT_SECONDS)


def _release(connections: Iterable[Connection]) -> None:
    """Close this process's descriptors; the connections stay open in the other server."""
    for connection in connections:
        connection.transport.abort()
