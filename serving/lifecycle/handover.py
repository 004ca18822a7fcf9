"""Handing a public port, and the connections that are open on it, from one running server to the next.

The listening socket outlives servers, and so does a connection between two requests: its descriptor is passed on and
the client never notices. A connection with a request in flight gets its answer from the server that has the request,
with ``Connection: close``. Nothing is ever cut.
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
from serving.lifecycle.control import MAX_FDS, ControlError, ask

KEEP_ALIVE_SECONDS = 75  # nginx's: longer than clients and proxies keep an idle connection for reuse
LINGER_SECONDS = KEEP_ALIVE_SECONDS + 5  # an idle connection that nobody took over has timed out by then
SETTLE_SECONDS = 5.0  # how long standing by waits for requests in flight before it answers
ADOPT_SECONDS = 5.0
BACKLOG = 2048
POLL_SECONDS = 0.005


class ListenerRole(StrEnum):
    """What a server does with the public port."""

    CANDIDATE = "candidate"  # never had it
    LIVE = "live"  # accepts on it
    STANDBY = "standby"  # had it, and can have it back
    LEAVING = "leaving"  # is about to end


class Connection(OneWriteProtocol):
    """A client's connection to the public port. It can change servers between two requests."""

    def __init__(self, door: "PublicListener") -> None:
        server = door.server
        super().__init__(config=server.config, server_state=server.server_state, app_state=server.lifespan.state)
        self.door = door
        self.answered = 0

    @property
    def between_requests(self) -> bool:
        """Nothing of a request is held here, read or unread, and nothing of an answer."""
        return (
            self.begun == self.read == self.answered
            and not self.transport.is_closing()
            and self.transport.get_write_buffer_size() == 0
        )

    @property
    def in_flight(self) -> bool:
        """A request was understood and its answer is not complete."""
        return self.cycle is not None and not self.cycle.response_complete and not self.transport.is_closing()

    def close_after_answer(self) -> None:
        """Let the answer say ``Connection: close``, if its head has not been sent yet."""
        if self.in_flight and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it in."""
        super().connection_made(transport)
        self.door.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it out."""
        self.door.connections.discard(self)
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A request is understood: where the port is another server's by now, its answer is the last one here."""
        super().on_headers_complete()
        if self.door.role is not ListenerRole.LIVE:
            self.close_after_answer()

    def on_response_complete(self) -> None:
        """An answer's last byte was written."""
        self.answered += 1
        super().on_response_complete()


class PublicListener:
    """The public side of one model server: its role, the listening socket and the open connections."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.server = server
        self.role = ListenerRole.CANDIDATE
        self.since = time.monotonic()  # of the role; comparable between processes of one machine
        self.connections: set[Connection] = set()
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Server | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._welcoming: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Requests from the public port that are not answered yet."""
        return sum(connection.in_flight for connection in self.connections)

    @property
    def port(self) -> int | None:
        """The public port whose listening socket is here, accepting or not."""
        return None if self._listening is None else int(self._listening.getsockname()[1])

    async def take(self, listening: socket.socket | None) -> None:
        """Start accepting, on this socket or on the one that was kept. ControlError: there is none."""
        if self.role is ListenerRole.LEAVING:
            raise ControlError("this server is ending")
        if listening is not None:
            if self._listening is not None:
                self._listening.close()
            self._listening = listening
        if self._listening is None:
            raise ControlError("take: pass the listening socket along, this server has none")
        if self._accepting is None:
            loop = asyncio.get_running_loop()
            self._accepting = await loop.create_server(
                lambda: Connection(self), sock=self._listening.dup(), backlog=BACKLOG
            )
            self.server.servers.append(self._accepting)  # uvicorn closes it when it shuts down
        self._become(ListenerRole.LIVE)

    def give(self) -> int:
        """The listening socket's descriptor. It stays this server's to close. ControlError: there is none."""
        if self._listening is None:
            raise ControlError("give: this server never had a listening socket")
        return self._listening.fileno()

    async def stand_by(self, successor: Path | None) -> None:
        """Stop accepting; pass connections on; return when nothing is in flight, or after SETTLE_SECONDS."""
        if self.role is ListenerRole.LIVE:
            self._stop_accepting()
            self._become(ListenerRole.STANDBY)
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.role is ListenerRole.STANDBY:
            if successor is not None and not await self._hand_over(successor):
                successor = None
            # Also the time in which a connection that was accepted just before shows up.
            await asyncio.sleep(POLL_SECONDS)
            if time.monotonic() > deadline or not (self.in_flight or (successor and self._idle())):
                break

    def adopt(self, fds: Sequence[int]) -> Callable[[], None]:
        """Check that these connections are welcome; calling the result starts to read from them.

        The time between the two is for the answer: once that is sent the giver lets go, and if this server dies
        before, it has read nothing and the giver goes on.
        """
        if self.role is not ListenerRole.LIVE:
            raise ControlError(f"adopt: this server is {self.role}, only a live one adopts connections")
        taken = [socket.socket(fileno=fd) for fd in fds]

        def start() -> None:
            for connection in taken:
                connection.setblocking(False)
                task = asyncio.get_running_loop().create_task(self._welcome(connection))
                self._welcoming.add(task)
                task.add_done_callback(self._welcoming.discard)

        return start

    def leave(self) -> None:
        """Free the port and end: after the last answer, or when what is left has been idle for too long."""
        if self._leaving is None:
            self._become(ListenerRole.LEAVING)
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

    async def _welcome(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client went away meanwhile
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(self), connection)

    async def _hand_over(self, successor: Path) -> bool:
        """Pass on the connections that are between two requests; False: the successor does not want them."""
        idle = self._idle()
        for start in range(0, len(idle), MAX_FDS):
            batch = idle[start : start + MAX_FDS]
            for connection in batch:
                connection.transport.pause_reading()  # what comes from now on stays in the kernel
            fds = [os.dup(c.transport.get_extra_info("socket").fileno()) for c in batch]
            try:
                await asyncio.to_thread(ask, successor, {"do": "adopt"}, fds=fds, timeout=ADOPT_SECONDS)
            except TimeoutError:
                # It may have them and be slow: two readers on one connection would be worse than a lost one.
                _let_go(batch)
            except (OSError, ControlError):
                for connection in batch:
                    connection.transport.resume_reading()
                return False
            else:
                _let_go(batch)
            finally:
                for fd in fds:
                    os.close(fd)
        return True

    def _idle(self) -> list[Connection]:
        return [connection for connection in self.connections if connection.between_requests]

    def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.close()
            self.server.servers.remove(self._accepting)
            self._accepting = None

    def _become(self, role: ListenerRole) -> None:
        if role is not self.role:
            self.role, self.since = role, time.monotonic()
        if role is not ListenerRole.LIVE:
            for connection in self.connections:
                connection.close_after_answer()

    def status(self) -> dict[str, Any]:
        """What the control socket's ``status`` says about the public side."""
        return {
            "role": self.role,
            "since": self.since,
            "port": self.port,
            "in_flight": self.in_flight,
            "open": len(self.connections),
        }


def _let_go(connections: Iterable[Connection]) -> None:
    """Close this process's descriptors; the connections live on in the other one."""
    for connection in connections:
        connection.transport.abort()
