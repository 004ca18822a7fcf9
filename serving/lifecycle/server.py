"""Running a model server: uvicorn around the app, with a fixed port or with a control socket that hands it one."""

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

from serving.http.bounded import allow_open_files
from serving.http.onewrite import OneWriteProtocol
from serving.lifecycle import control
from serving.lifecycle.control import ControlError, Reply
from serving.lifecycle.handover import BACKLOG, KEEP_ALIVE_SECONDS, PublicListener
from serving.lifecycle.loading import LoadingApp

DRAIN_SECONDS = 30  # how long a server that was sent SIGTERM waits for its last answers
PRIVATE_HOST = "127.0.0.1"

Load = Callable[[], ASGIApp]


def run_on_port(host: str, port: int, load: Load) -> None:
    """Serve what ``load`` returns until SIGTERM or SIGINT.

    Raises what ``load`` raises. SystemExit: the port cannot be bound.
    """
    served = _Served(load, host, port)
    with asyncio.Runner(loop_factory=served.server.config.get_loop_factory()) as runner:
        runner.run(served.run())
        served.end()


def run_on_orders(path: Path, load: Load, described: Mapping[str, Any]) -> None:
    """Serve what ``load`` returns on a private loopback port, and on the public port when told to.

    The control socket at ``path`` answers at once, so that a server is found while it is still loading.
    ``described`` is what its status says it was started with. Returns when told to exit, or after SIGTERM.
    Raises what ``load`` raises.
    """
    ordered = _Ordered(path, load, described)
    with asyncio.Runner(loop_factory=ordered.served.server.config.get_loop_factory()) as runner:
        runner.run(ordered.run())
        ordered.served.end()


class _Served:
    """uvicorn around an app that is loaded while it serves already."""

    def __init__(self, load: Load, host: str, port: int) -> None:
        self.app = LoadingApp(load, self._fail)
        self.server = uvicorn.Server(_config(self.app, host, port))
        self.error: Exception | None = None

    async def run(self, sockets: Sequence[socket.socket] | None = None) -> None:
        allow_open_files()
        # uvicorn raises a signal that it caught once more when it is done, which would end the process before it
        # has tidied up.
        signal.signal(signal.SIGTERM, _already_heeded)
        await self.server.serve(sockets=list(sockets) if sockets else None)
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """End the process if it is loading still: that thread cannot be interrupted, and nobody was promised it."""
        if not self.app.ready and self.error is None:
            os._exit(0)

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.server.should_exit = True


class _Ordered:
    """One server under a control socket."""

    def __init__(self, path: Path, load: Load, described: Mapping[str, Any]) -> None:
        self.path = path
        self.described = dict(described)
        self.served = _Served(load, PRIVATE_HOST, 0)
        self.door = PublicListener(self.served.server)
        self.private = socket.create_server((PRIVATE_HOST, 0), backlog=BACKLOG)
        self.private_url = "http://{}:{}".format(*self.private.getsockname())

    @property
    def ready(self) -> bool:
        """The model is loaded and the private port answers."""
        return self.served.app.ready and self.served.server.started

    async def run(self) -> None:
        listening = control.listen(self.path)
        answering = asyncio.create_task(control.serve(listening, self.obey))
        try:
            await self.served.run([self.private])
        finally:
            answering.cancel()
            listening.close()
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()

    async def obey(self, order: dict[str, Any], fds: list[int]) -> Reply:
        """Do what one line on the control socket says."""
        do, door = order.get("do"), self.door
        if do == "status":
            return Reply(self._status())
        if do == "exit":
            return Reply({"role": "leaving"}, then=door.leave)
        if not self.ready:
            raise ControlError(f"cannot {do}: this server is still loading its model")
        if do == "take":
            await door.take(socket.socket(fileno=fds.pop()) if fds else None)
        elif do == "stand-by":
            await door.stand_by(Path(order["to"]) if order.get("to") else None)
        elif do == "give":
            return Reply({"ok": True}, [door.give()])
        elif do == "adopt":
            return Reply({"adopted": len(fds)}, then=door.adopt(fds))
        else:
            raise ControlError(f"unknown order {do!r}: status, take, stand-by, give, adopt and exit are known")
        return Reply({"role": door.role})

    def _status(self) -> dict[str, Any]:
        return {
            **self.door.status(),
            "pid": os.getpid(),
            "private_url": self.private_url,
            "ready": self.ready,
            "spec": self.described,
        }


def _already_heeded(_signal: int, _frame: FrameType | None) -> None:
    pass


def _config(app: Any, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host,
        port,
        http=OneWriteProtocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
