"""Running a model server: uvicorn around the app, with a fixed port or with a control socket that hands it one."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from serving import control
from serving.control import ControlError, Reply
from serving.handover import BACKLOG, KEEP_ALIVE_SECONDS, Door

DRAIN_SECONDS = 30  # how long a server that was sent SIGTERM waits for its last answers
PRIVATE_HOST = "127.0.0.1"


def run_on_port(app: Any, host: str, port: int) -> None:
    """Serve the ASGI app until SIGTERM or SIGINT. SystemExit: the port cannot be bound."""
    uvicorn.Server(_config(app, host, port)).run()


def run_on_orders(path: Path, load: Callable[[], Any], described: Mapping[str, Any]) -> None:
    """Serve what ``load`` returns on a private loopback port, and on the public port when told to.

    The control socket at ``path`` answers at once, so that a server is found while it is still loading.
    ``described`` is what its status says it was started with. Returns when told to exit, or after SIGTERM.
    """
    config = _config(None, PRIVATE_HOST, 0)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_Ordered(config, path, described).run(load))


class _Ordered:
    """One server under a control socket."""

    def __init__(self, config: uvicorn.Config, path: Path, described: Mapping[str, Any]) -> None:
        self.config = config
        self.path = path
        self.described = dict(described)
        self.door = Door(uvicorn.Server(config))
        # Listening before there is an app: the URL is known from the start, and who is early waits.
        self.private = socket.create_server((PRIVATE_HOST, 0), backlog=BACKLOG)

    async def run(self, load: Callable[[], Any]) -> None:
        listening = control.listen(self.path)
        answering = asyncio.create_task(control.serve(listening, self.obey))
        try:
            self.config.app = await asyncio.to_thread(load)
            # uvicorn raises a signal that it caught once more when it is done; this server ends in its own order.
            signal.signal(signal.SIGTERM, _already_seen)
            await self.door.server.serve(sockets=[self.private])
        finally:
            answering.cancel()
            listening.close()
            self._remove_path()

    async def obey(self, order: dict[str, Any], fds: list[int]) -> Reply:
        """Do what one line on the control socket says."""
        do, door = order.get("do"), self.door
        if do == "status":
            return Reply(self._status())
        if do == "exit":
            return self._exit()
        if not door.server.started:
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
            "private_url": "http://{}:{}".format(*self.private.getsockname()),
            "ready": self.door.server.started,
            "spec": self.described,
        }

    def _exit(self) -> Reply:
        if self.door.server.started:
            return Reply({"role": "leaving"}, then=self.door.leave)
        return Reply({"role": "leaving"}, then=self._end_while_loading)

    def _end_while_loading(self) -> None:
        self._remove_path()
        os._exit(0)  # the loading thread cannot be interrupted, and nothing was promised to anybody yet

    def _remove_path(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


def _already_seen(_signal: int, _frame: FrameType | None) -> None:
    """Replace the default action, which would end the process before it has tidied up."""


def _config(app: Any, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host,
        port,
        http="httptools",
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
