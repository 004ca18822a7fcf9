"""A server on one core: started, asked until it answers, weighed, and ended with everything that it started."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.environments import binaries
from tests.bench.peers import Peer
from tests.bench.subject import Subject
from tests.bench.wrk import BenchError
from tests.support.ports import free_port

START_SECONDS = 90.0
STOP_SECONDS = 5.0
ASK_SECONDS = 30.0
PAUSE_SECONDS = 0.01  # between two questions to a server that is coming up
LOG_TAIL = 1000


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    session: int  # all its processes are in it
    port: int
    url: str
    cold_start: float  # seconds from its start to its first prediction
    answer: Any  # that prediction


@contextmanager
def running(peer: Peer, subject: Subject, core: int) -> Iterator[Running]:
    """Start the peer on one core and end it afterwards. BenchError: it does not come up."""
    port = free_port()
    program, *arguments = peer.command(subject, port)
    bin_directory = binaries(peer.environment)
    log = subject.place / "server.log"
    first = json.dumps(peer.body(subject.rows[:1])).encode()
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), str(bin_directory / program), *arguments],
            env={**os.environ, **peer.variables(subject, port), "PATH": f"{bin_directory}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        answer = _first_answer(process, port, peer.path, first, log)
        cold_start = time.monotonic() - began
        yield Running(process.pid, port, f"http://127.0.0.1:{port}{peer.path}", cold_start, answer)
    finally:
        _end(process)


def ask(port: int, path: str, body: bytes) -> Any:
    """The JSON that a POST is answered with. BenchError: another status. OSError: nobody there."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS)) as connection:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise BenchError(f"POST {path} was answered {answer.status}: {said[:200]!r}")
    return json.loads(said)


def megabytes(session: int) -> float:
    """What a server's processes need of memory: their proportional set size (PSS), so shared pages count once."""
    kilobytes = 0
    for pid in _members(session):
        with contextlib.suppress(OSError):  # ended meanwhile
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1000


def cpu_seconds(session: int) -> float:
    """Processor time of a server's processes so far."""
    ticks = 0
    for pid in _members(session):
        with contextlib.suppress(OSError):  # ended meanwhile
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(after_name[11]) + int(after_name[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _first_answer(process: "subprocess.Popen[bytes]", port: int, path: str, body: bytes, log: Path) -> Any:
    deadline = time.monotonic() + START_SECONDS
    failure: Exception | None = None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"it ended with {process.returncode}\n{_tail(log)}")
        try:
            return ask(port, path, body)
        except (OSError, http.client.HTTPException, BenchError) as error:
            failure = error
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may end any moment, and then is not asked again
            process.wait(PAUSE_SECONDS)
    raise BenchError(f"no prediction within {START_SECONDS:g} s: {failure}\n{_tail(log)}")


def _tail(log: Path) -> str:
    """For who watches, not for the page: the first line of an error is for that."""
    return " ".join(log.read_text(errors="replace").split())[-LOG_TAIL:]


def _members(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = path.read_text().rpartition(")")[2].split()
            if int(after_name[3]) == session and after_name[0] != "Z":
                found.append(int(path.parent.name))
    return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Politely, then not; a server's helpers end with it."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for pid in _members(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
