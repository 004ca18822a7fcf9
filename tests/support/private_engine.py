"""A docker engine of a test's own, to be stopped and started. Needs root.

It lives in a network namespace of its own, and so does the test meanwhile: two engines in one would take each other's
bridges and firewall rules away.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from tests.support.waiting import eventually

CLONE_NEWNET = 0x40000000


class Engine:
    """``dockerd`` on a socket of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = f"unix://{directory}/socket"
        self.namespace = directory.name
        self._process: subprocess.Popen[bytes] | None = None

    def client(self) -> Docker:
        """The project's client, pointed at this engine."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("DOCKER_HOST", self.host)
            return Docker()

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        places = [f"--{name}={self.directory}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.namespace}", "dockerd", *places, "--host", self.host],
                stdout=log,
                stderr=log,
            )
        eventually(self.client().answers, 60)

    def stop(self) -> None:
        """Stop it as an update would: its containers end with it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    def load(self, *images: str) -> None:
        """Copy images from the machine's engine."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            environment = {**os.environ, "DOCKER_HOST": self.host}
            subprocess.run(["docker", "load", "--quiet"], stdin=saved.stdout, env=environment, check=True)


@contextmanager
def private_engine() -> Iterator[Engine]:
    """An engine with nothing in it; gone in the end. Skips where it cannot be had, unless an engine is required."""
    if os.geteuid() != 0 or not (shutil.which("dockerd") and shutil.which("ip")):
        if os.environ.get("PINRAIL_REQUIRE_DOCKER"):
            pytest.fail("a docker engine of its own is required, and needs root, dockerd and ip")
        pytest.skip("an engine of its own needs root, dockerd and ip")
    # A short path: the engine keeps sockets below it, and their names have a limit.
    directory = Path(tempfile.mkdtemp(prefix="pinrail-engine-", dir="/tmp"))
    engine = Engine(directory)
    subprocess.run(["ip", "netns", "add", engine.namespace], check=True)
    try:
        subprocess.run(["ip", "-netns", engine.namespace, "link", "set", "lo", "up"], check=True)
        with _inside(Path("/run/netns") / engine.namespace):
            engine.start()
            yield engine
    finally:
        engine.stop()
        subprocess.run(["ip", "netns", "delete", engine.namespace], check=True)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _inside(namespace: Path) -> Iterator[None]:
    """This thread, and what it starts, see another network: loopback is the other engine's."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as here, namespace.open() as there:
        assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(here.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
