"""Running a model server: uvicorn around the app, on a fixed port or under a control socket."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from serving.confinement.confine import Reach, confine
from serving.http.bounded import allow_open_files
from serving.http.onewrite import OneWriteProtocol
from serving.lifecycle import acceptor, control
from serving.lifecycle.control import ControlError, Reply
from serving.lifecycle.handover import BACKLOG, KEEP_ALIVE_SECONDS, PublicListener, Successor
from serving.lifecycle.loading import LoadingApp
from serving.lifecycle.shared_accept import ConnectionCounts

DRAIN_SECONDS = 30  # how long requests in flight have after SIGTERM
PRIVATE_HOST = "127.0.0.1"

Load = Callable[[], ASGIApp]


def run_on_port(host: str, port: int, load: Load) -> None:
    """Serve what ``load`` returns until SIGTERM or SIGINT.

    Raises what ``load`` raises. SystemExit: the port cannot be bound.
    """
    http = _HttpServer(load, host, port)
    with asyncio.Runner(loop_factory=http.server.config.get_loop_factory()) as runner:
        runner.run(http.run())
        http.exit_if_loading()


def run_with_control_socket(
    path: Path,
    load: Load,
    identity: Mapping[str, Any],
    private: socket.socket | None = None,
    reach: Reach | None = None,
) -> None:
    """Serve what ``load`` returns on a private loopback port, and on the public port on command.

    The control socket at ``path`` answers at once, also while the model is loading. Returns after the command to exit
    or SIGTERM. Raises what ``load`` raises.

    Args:
        path: of the control socket.
        load: loads the model and returns its app.
        identity: what the server was started with; its status repeats it.
        private: the listening socket to answer on; None: one on any port.
        reach: what this process is confined to before it loads anything, of which the first writable directory is its
            private one; None: it is not confined.
    """
    controlled = _ControlledServer(path, load, identity, private)
    channel = None
    if reach is not None:
        channel = acceptor.fork(path, reach.writable[0])
        confine(reach)
    with asyncio.Runner(loop_factory=controlled.http.server.config.get_loop_factory()) as runner:
        runner.run(controlled.run(channel))
        controlled.http.exit_if_loading()


class _HttpServer:
    """uvicorn around an app that loads its model while uvicorn already answers."""

    def __init__(self, load: Load, host: str, port: int) -> None:
        self.app = LoadingApp(load, self._fail)
        self.server = uvicorn.Server(_config(self.app, host, port))
        self.error: Exception | None = None

    async def run(self, sockets: Sequence[socket.socket] | None = None) -> None:
        allow_open_files()
        # When uvicorn is done it raises the signal that stopped it once more, which would end the process before its
        # clean-up.
        signal.signal(signal.SIGTERM, _ignore)
        await self.server.serve(sockets=list(sockets) if sockets else None)
        if self.error is not None:
            raise self.error

    def exit_if_loading(self) -> None:
        """End the process if it is still loading, because that thread cannot be interrupted."""
        if not self.app.ready and self.error is None:
            os._exit(0)

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.server.should_exit = True


class _ControlledServer:
    """A model server under a control socket."""

    def __init__(self, path: Path, load: Load, identity: Mapping[str, Any], private: socket.socket | None) -> None:
        self.path = path
        self.identity = dict(identity)
        self.http = _HttpServer(load, PRIVATE_HOST, 0)
        self.listener = PublicListener(self.http.server, _counts(path, identity))
        self.private = private or socket.create_server((PRIVATE_HOST, 0), backlog=BACKLOG)
        self.private_url = "http://{}:{}".format(*self.private.getsockname())
        self.expecting: set[asyncio.Task[None]] = set()  # who hands connections over
        self.held: Sequence[int] = ()  # descriptors that are kept open for the receiver

    @property
    def ready(self) -> bool:
        """The model is loaded, and the private port answers."""
        return self.http.app.ready and self.http.server.started

    async def run(self, channel: socket.socket | None) -> None:
        """``channel``: where connections to the control socket arrive; None: it is opened here."""
        if channel is not None:
            serve = control.serve_passed(channel, self.handle_command)
        else:
            serve = control.serve_at(self.path, control.listen(self.path), self.handle_command)
        answering = asyncio.create_task(serve)
        try:
            await self.http.run([self.private])
        finally:
            answering.cancel()
            if channel is None:
                with contextlib.suppress(FileNotFoundError):
                    self.path.unlink()

    async def handle_command(self, command: dict[str, Any], fds: list[int]) -> Reply:
        """Carry out one command of the control socket. ControlError: it is unknown, or cannot be done now."""
        do, listener = command.get("do"), self.listener
        if do == "status":
            return Reply(self._status())
        if do == "hold":
            before, self.held = self.held, tuple(fds)
            control.close(before)
            return Reply({"ok": True})
        if do == "exit":
            return Reply({"role": "leaving"}, then=listener.shut_down)
        if not self.ready:
            raise ControlError(f"{do}: this server is still loading its model")
        if do == "take":
            await listener.activate(socket.socket(fileno=fds.pop()) if fds else None)
        elif do == "stand-by":
            await listener.drain(_successors(fds, command))
        elif do == "expect":
            self._expect(socket.socket(fileno=fds.pop()))
        elif do == "give":
            return Reply({"ok": True}, [listener.share_socket()])
        elif do == "adopt":
            return await self._adopt(command, fds)
        else:
            raise ControlError(
                f"unknown command {do!r}: known are status, hold, take, stand-by, give, adopt, expect and exit"
            )
        return Reply({"role": listener.role})

    def _expect(self, connection: socket.socket) -> None:
        task = asyncio.create_task(control.serve_on(connection, self._adopt))
        self.expecting.add(task)
        task.add_done_callback(self.expecting.discard)

    async def _adopt(self, command: dict[str, Any], fds: list[int]) -> Reply:
        if command.get("do") != "adopt":
            raise ControlError(f"{command.get('do')!r}: another server may only say adopt")
        return Reply({"adopted": len(fds)}, then=self.listener.adopt(fds))

    def _status(self) -> dict[str, Any]:
        return {
            **self.listener.status(),
            "pid": os.getpid(),
            "private_url": self.private_url,
            "ready": self.ready,
            "spec": self.identity,
        }


def _counts(path: Path, identity: Mapping[str, Any]) -> ConnectionCounts | None:
    """Where the replicas of a server count their connections; None: it is the only one."""
    replicas = int(identity.get("replicas") or 1)
    return ConnectionCounts(path, int(identity["replica"]), replicas) if replicas > 1 else None


def _successors(fds: list[int], command: Mapping[str, Any]) -> Sequence[Successor]:
    """How to reach the servers that connections are handed to."""
    if fds:
        return [socket.socket(fileno=fds.pop(0)) for _ in range(len(fds))]
    return [Path(path) for path in (command.get("to"), *command.get("also", ())) if path]


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    pass


def _config(app: Any, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host,
        port,
        http=OneWriteProtocol,
        ws="none",
        lifespan="on",
        log_level="error",  # a warning is a line for each thing that any client sends and that is no HTTP
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
