"""A model server without a model: started like the real one, and as well-behaved as its version says.

Run as a script. Everything but the app is the real thing: options, control socket, handing over.
"""

import asyncio
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from serving.__main__ import IDENTITY
from serving.confinement import places
from serving.confinement.confine import Reach
from serving.http.asgi import JSON, respond
from serving.http.callers import REQUEST_ID
from serving.lifecycle.server import run_with_control_socket

# Versions with a flaw; all others are fine.
EXITS_AT_ONCE = 901
HANGS_WHILE_LOADING = 902
ANSWERS_AS_ANOTHER_VERSION = 903
DIES_AFTER_AN_ANSWER = 904
LOADS_SLOWLY = 905
PREDICTS_NAN = 906
SICK = 907
# So is the version that the option ``--tiring`` names, until it has made one prediction.
PREDICTS_NULL = 909
EATS_MEMORY = 913
FORKS = 908  # as a model with a pool of workers does


class App:
    """Answers /health and /predict like a model server; /sleep takes half a second, and /fail is a 500.

    /hold takes 20 ms, one request after the other.
    """

    def __init__(self, options: dict[str, str]) -> None:
        self.version = int(options["version"])
        self.one_at_a_time = asyncio.Lock()
        self.tiring, self.predictions = options.get("tiring") == options["version"], 0
        said = 1 if self.version == ANSWERS_AS_ANOTHER_VERSION else self.version
        self.health = {
            "status": "ok",
            "stage": options.get("stage"),
            "environment": options["environment"],
            "model": options["model"],
            "version": said,
            "digest": options["digest"],
            "revision": options["revision"],
            "replica": int(options.get("replica") or os.environ.get("PINRAIL_REPLICA", "1")),
        }

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = await self._body(receive)
        if scope["path"] == "/sleep":
            await asyncio.sleep(0.5)
        if scope["path"] == "/hold":
            async with self.one_at_a_time:
                await asyncio.sleep(0.02)
        if scope["path"] == "/environ":
            answer: Any = dict(os.environ)
        elif scope["path"] == "/predict":
            self.predictions += 1
            number = {PREDICTS_NAN: float("nan"), PREDICTS_NULL: None}.get(self.version, 0)
            rows = len(json.loads(body))
            answer = {
                "model": self.health["model"],
                "version": self.health["version"],
                "predictions": [number] * rows,
            }
            if self.version == FORKS:
                fork()
            if self.version == DIES_AFTER_AN_ANSWER:
                asyncio.get_running_loop().call_later(0.3, os._exit, 9)
        else:
            answer = self.health
        content = json.dumps(answer).encode()
        worn_out = self.tiring and self.predictions > 1 and scope["path"] == "/predict"
        status = 503 if self.version == SICK else 500 if worn_out or scope["path"] == "/fail" else 200
        identified = (
            (REQUEST_ID, dict(scope["headers"]).get(REQUEST_ID, b"")),
            (b"x-model-version", b"%d" % self.version),
        )
        await respond(scope, send, status, content, (JSON, *identified))

    async def _body(self, receive: Any) -> bytes:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                return body


def fork() -> None:
    if os.fork() == 0:
        time.sleep(600)


def main(argv: list[str]) -> None:
    options = dict(option.removeprefix("--").split("=", 1) for option in argv if "=" in option)
    version = int(options["version"])
    if version == EXITS_AT_ONCE:
        sys.stderr.write("there is no such model \x1b[31m\n")
        sys.exit(3)

    def load() -> App:
        if version == HANGS_WHILE_LOADING:
            time.sleep(600)
        if version == LOADS_SLOWLY:
            time.sleep(1)
        if version == EATS_MEMORY:
            time.sleep(0.5)  # its limit is set a moment after its start
            eaten = bytearray(300 << 20)
            eaten[::4096] = b"x" * len(eaten[::4096])
        return App(options)

    described = {name: options.get(name) for name in IDENTITY} | {"version": version}
    reach = None
    if "--confine" in argv:
        reach = Reach([], [Path(os.environ["TMPDIR"])], hidden=[Path(options["cache"]).parent])
        places.import_from(reach.writable[0])
    private = socket.socket(fileno=int(options["private"])) if "private" in options else None
    run_with_control_socket(Path(options["control"]), load, described, private, reach)


if __name__ == "__main__":
    main(sys.argv[1:])
