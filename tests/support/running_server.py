"""A tiny model server under a control socket, without any target around it."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.lifecycle.control import ask
from tests.support import tiny_server
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Running:
    """A server process and its control socket."""

    process: "subprocess.Popen[bytes]"
    control: Path

    def command(self, do: str, *, fds: tuple[int, ...] = (), **more: Any) -> dict[str, Any]:
        return ask(self.control, {"do": do, **more}, fds=fds, timeout=10)[0]

    def is_ready(self) -> bool:
        """It has loaded; before, its socket may not be there, or be bound and not listening yet."""
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return bool(self.command("status")["ready"])
        return False


@contextlib.contextmanager
def running_server(directory: Path, version: int) -> Iterator[Running]:
    """A server that has loaded."""
    control = directory / f"{version}.sock"
    options = {
        "model": "churn-model",
        "version": version,
        "digest": "sha256:0",
        "environment": "staging",
        "revision": "c",
        "control": control,
    }
    argv = [sys.executable, "-P", tiny_server.__file__, *(f"--{name}={value}" for name, value in options.items())]
    with subprocess.Popen(argv) as process:
        running = Running(process, control)
        try:
            eventually(running.is_ready)
            yield running
        finally:
            process.kill()
