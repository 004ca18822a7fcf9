"""The process that keeps a confined model server's control socket: it accepts, and passes on what it accepted.

A confined server can make no Unix socket, or its model could speak to those of others. So the server forks this
process before it confines itself. Nothing that the server sends is read here, and it ends when the server does.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
from pathlib import Path

from serving.lifecycle.control import CHECK_SECONDS, listen

CONNECTION = b"c"  # beside each connection that is passed on


def fork(path: Path, private: Path) -> socket.socket:
    """Listen at ``path`` in a process of its own, which removes the directory ``private`` in the end.

    Returns the channel on which connections arrive, see :func:`serving.lifecycle.control.serve_passed`. OSError: the
    path cannot be had.
    """
    listening = listen(path)
    ours, theirs = socket.socketpair()
    server = os.getpid()
    if os.fork() == 0:
        try:
            _leave_all_but(listening.fileno(), theirs.fileno())
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # they are for the server
            with contextlib.suppress(ConnectionError):  # it has ended, with a connection that it had not taken
                _accept(path, listening, theirs, server)
            path.unlink(missing_ok=True)
            shutil.rmtree(private, ignore_errors=True)
        finally:
            os._exit(0)
    listening.close()
    theirs.close()
    return ours


def _leave_all_but(*kept: int) -> None:
    """Close the record's lock among others, which says whether the server lives."""
    for number in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if number > 2 and number not in kept:  # noqa: PLR2004 - what it says goes to the server's log
            with contextlib.suppress(OSError):  # of the list itself
                os.close(number)


def _accept(path: Path, listening: socket.socket | None, channel: socket.socket, server: int) -> None:
    channel.setblocking(False)
    while os.getppid() == server:
        if listening is not None and not path.exists():
            listening.close()
            listening = None
        if listening is None:
            with contextlib.suppress(OSError):
                listening = listen(path)
        ready, _, _ = select.select([channel, *([listening] if listening else [])], [], [], CHECK_SECONDS)
        if channel in ready and not channel.recv(1):
            return
        if listening in ready and listening is not None:
            with contextlib.suppress(OSError):  # the client is gone, or the server does not keep up
                connection, _ = listening.accept()
                with connection:
                    socket.send_fds(channel, [CONNECTION], [connection.fileno()])
