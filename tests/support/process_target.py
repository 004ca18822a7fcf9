"""The process target over small servers, and the end of every server that a test leaves behind."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from receiver.core.state import Server
from receiver.targets.process.discovery import ServerDiscovery
from receiver.targets.process.records import ServerRecords
from receiver.targets.process.target import ProcessTarget
from tests.support import tiny_server
from tests.support.waiting import eventually

COMMAND = (sys.executable, "-P", str(tiny_server.__file__))


def process_target(state: Path, start_seconds: float = 15.0) -> ProcessTarget:
    """A target whose servers are tiny ones."""
    return ProcessTarget(state, command=COMMAND, start_seconds=start_seconds)


@contextlib.contextmanager
def cleaned_up(state: Path) -> Iterator[Path]:
    """A state directory, of whose servers none is left in the end."""
    try:
        yield state
    finally:
        records = ServerRecords(state)
        ServerDiscovery(records).ask_all(records.all())  # notes the process ids that a killed receiver could not
        for record in records.all():
            if record.pid is not None and records.alive(record):
                os.kill(record.pid, signal.SIGKILL)


def pid_of(state: Path, server: Server) -> int:
    """The process of a server."""
    record = ServerRecords(state).get(server.id)
    assert record is not None
    assert record.pid is not None
    return record.pid


def send_signal(state: Path, server: Server, number: int) -> None:
    """Signal a server; where that ends it, wait until it has ended."""
    os.kill(pid_of(state, server), number)
    if number == signal.SIGKILL:
        eventually(lambda: not is_running(state, server))


def kill_replica(state: Path, server: Server, number: int) -> None:
    """End one of a server's replicas, and wait until it has ended."""
    record = next(r for r in ServerRecords(state).of(server.id) if r.replica == number)
    assert record.pid is not None
    os.kill(record.pid, signal.SIGKILL)
    eventually(lambda: not ServerRecords(state).alive(record))


def is_running(state: Path, server: Server) -> bool:
    """The server's process exists."""
    record = ServerRecords(state).get(server.id)
    return record is not None and ServerRecords(state).alive(record)
