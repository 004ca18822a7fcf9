"""A uvicorn server in a thread of its own, with an event loop of its own."""

import asyncio
import errno
import socket
import threading

import uvicorn

from receiver.core.errors import Rejected

BACKLOG = 2048
STOP_SECONDS = 15.0


class Listener:
    """One listener of the receiver: bound when made, answering after :meth:`start`.

    Signals stay with the main thread; deployments that keep the interpreter busy share it with this thread only
    through the interpreter's lock, never through an event loop.
    """

    def __init__(self, config: uvicorn.Config, name: str) -> None:
        self._name = name
        self._socket = _bind(config.host, config.port, name)
        self.port = int(self._socket.getsockname()[1])  # differs from the configured one where that was 0
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name=f"{name} listener", daemon=True)

    def start(self) -> None:
        """Answer requests; returns when the first one would be answered."""
        self._thread.start()
        self._server.ready.wait()
        if not self._server.started:
            raise RuntimeError(f"the {self._name} listener did not start; the log says why")

    def stop(self) -> None:
        """Answer what is being asked, then close."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        self._socket.close()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
                runner.run(self._server.serve(sockets=[self._socket]))
        finally:
            self._server.ready.set()


class _Server(uvicorn.Server):
    """uvicorn's server, with a word when it answers. In a thread other than the main one it leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self.ready.set()


def _bind(host: str, port: int, name: str) -> socket.socket:
    # With its protocol named, for asyncio sets TCP_NODELAY on nothing else, and 40 ms per answer is the price.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno not in {errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL}:
            raise
        raise Rejected(
            f"the {name} listener cannot have {host}:{port}: {error.strerror}. "
            f"Free the port, or set PINRAIL_{name.upper()}_PORT."
        ) from error
    return listening
