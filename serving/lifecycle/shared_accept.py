"""Accepting on a listening socket that other servers accept on too, so that each gets its share of the connections.

Whoever wakes first would take all that waits, and clients keep connections open: one replica would have most of the
work for as long as they do. So whoever has fewest connections accepts, and the others only what it leaves.
"""

import asyncio
import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

PLACES = 256  # more than there are ever replicas of one server
COUNT = struct.Struct("I")
NOT_ACCEPTING = 0xFFFFFFFF  # connections: nobody waits for this one
PATIENCE_SECONDS = 0.005  # for the one with fewest connections, which may be busy, or have ended
ERROR_SECONDS = 0.1  # when out of descriptors

Accepted = Callable[[socket.socket], Awaitable[None]]


class ConnectionCounts:
    """How many connections each replica of a server has, in memory that all of them share."""

    def __init__(self, control: Path, replica: int, replicas: int) -> None:
        """``control``: its control socket, NAME.NUMBER.sock. Whoever comes first makes NAME.load beside it."""
        self._shared = _memory(control.with_name(f"{control.name.rsplit('.', 2)[0]}.load"))
        self._place = replica % PLACES
        self._others = [place for place in range(1, replicas + 1) if place != self._place]
        self.note(NOT_ACCEPTING)  # and not what a replica noted that ended and had this place

    def note(self, count: int) -> None:
        """This one has so many connections."""
        COUNT.pack_into(self._shared, self._place * COUNT.size, count)

    def add_one(self) -> None:
        """This one has one more than was noted last."""
        self.note(self._of(self._place) + 1)

    def has_fewest(self) -> bool:
        """No other one has fewer connections."""
        own = self._of(self._place)
        return all(self._of(place) >= own for place in self._others)

    def _of(self, place: int) -> int:
        return int(COUNT.unpack_from(self._shared, place * COUNT.size)[0])


def _memory(path: Path) -> mmap.mmap:
    """What all that name this file share; where it cannot be written, such as on a full disk, memory of our own."""
    size = PLACES * COUNT.size
    try:
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if os.fstat(fd).st_size < size:
                os.pwrite(fd, bytes(size), 0)  # not only its length: a page without room on the disk is a SIGBUS
            return mmap.mmap(fd, size)
        finally:
            os.close(fd)
    except OSError:
        return mmap.mmap(-1, size)


class SharedAcceptor:
    """Stands in for an :class:`asyncio.Server`: accepts until it is closed. ``accepted`` gets each connection."""

    def __init__(self, listening: socket.socket, counts: ConnectionCounts, accepted: Accepted) -> None:
        self._listening = listening
        self._counts = counts
        self._accepted = accepted
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        self._loop.add_reader(listening.fileno(), self._wake)

    def close(self) -> None:
        """Stop accepting; the socket stays open in whoever else has it."""
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening.fileno())
            if self._timer is not None:
                self._timer.cancel()
            self._listening.close()

    async def wait_closed(self) -> None:
        """See :meth:`asyncio.Server.wait_closed`."""

    def _wake(self) -> None:
        if self._counts.has_fewest():
            self._accept()
        else:
            self._pause(PATIENCE_SECONDS)

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._timer = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._loop.add_reader(self._listening.fileno(), self._wake)
        self._accept()

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another one was faster, or the client is gone
        except OSError:
            self._pause(ERROR_SECONDS)
            return
        self._counts.add_one()
        connection.setblocking(False)
        task = self._loop.create_task(self._hand_on(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_on(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the client disconnected meanwhile
            await self._accepted(connection)
