"""Starting programs: argument lists, a scrubbed environment, a timeout, nothing inherited.

The receiver starts every program here but ngrok, which pyngrok starts (``adapters/ngrok/agent.py``); the gate, a
program of its own, starts its server in ``ml/evaluation/server_process.py``.

No shell is involved, whatever the name says, and nothing from a webhook or a repository becomes a program's name.
"""

import os
import selectors
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from receiver.adapters.time_limit import at_most, stop_event
from receiver.core.errors import Rejected, Retryable

# What any program may need to find its way about; no credential of Pinrail's, though a proxy's address may hold one.
COMMON = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    }
)
# What docker's client needs besides.
DOCKER = ("DOCKER_",)

LONGEST_LINE = 1 << 20  # bytes; what is longer comes in pieces
STOP_SECONDS = 0.2  # how soon a program that may be stopped is

_children: dict[int, int | None] = {}  # by process id: exit status, which the system tells once


@dataclass(frozen=True, slots=True)
class Output:
    """How a program ended, and what it said."""

    status: int  # negative: the signal that ended it
    raw: bytes  # standard output as it came
    stderr: str

    @property
    def stdout(self) -> str:
        """Standard output as text; what is no UTF-8 is replaced."""
        return self.raw.decode(errors="replace")


def scrubbed(environment: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    """Keep the COMMON variables and those that start with one of ``prefixes``; tokens and secrets stay behind."""
    return {name: value for name, value in environment.items() if name in COMMON or name.startswith(prefixes)}


def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: float,
    directory: Path | None = None,
    stdin: bytes = b"",
    keep: Sequence[int] = (),
    stop: threading.Event | Callable[[], None] | None = None,
) -> Output:
    """Run a program to its end and return what it said, whatever its status.

    It inherits the descriptors in ``keep``, so that a lock on one is held for as long as it lives. ``stop``: an
    event, or what is asked while the program runs and raises to end it.

    Raises:
        Rejected: there is no such program.
        Retryable: it did not end within ``timeout`` seconds, or the task's time limit, or before ``stop``, and was
            killed with its children.
    """
    timeout, stop = at_most(timeout), stop or stop_event()
    try:
        with _as_file(stdin) as file:
            process = subprocess.Popen(
                list(argv),
                env=dict(environment),
                cwd=directory,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=tuple(keep),
            )
    except OSError as error:
        raise Rejected(_cannot_start(argv, error)) from error
    with process:
        try:
            stdout, stderr = _communicate(process, timeout, stop)
        except BaseException as error:
            _kill_group(process.pid)
            if isinstance(error, subprocess.TimeoutExpired):
                raise Retryable(f"`{' '.join(argv[:2])}` did not end within {timeout:g} s and was killed") from error
            raise
    return Output(process.returncode, stdout, stderr.decode(errors="replace"))


@contextmanager
def _as_file(stdin: bytes) -> Iterator[IO[bytes] | int]:
    """Open what a program reads: from a pipe, ``communicate`` could not go on after a pause."""
    if not stdin:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        yield file


def _communicate(
    process: "subprocess.Popen[bytes]", timeout: float, stop: threading.Event | Callable[[], None] | None
) -> tuple[bytes, bytes]:
    if stop is None:
        return process.communicate(timeout=timeout)
    deadline = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            if not isinstance(stop, threading.Event):
                stop()
            elif stop.is_set():
                raise Retryable("the program was ended because the receiver stops") from None
            if time.monotonic() >= deadline:
                raise


def stream(argv: Sequence[str], *, environment: Mapping[str, str], pause: float) -> Iterator[str | None]:
    """The lines that a program writes, as they come; None whenever ``pause`` seconds pass without one.

    The program ends with the iterator. Rejected: there is no such program.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise Rejected(_cannot_start(argv, error)) from error
    with process, selectors.DefaultSelector() as selector:
        try:
            output = cast("IO[bytes]", process.stdout)
            selector.register(output, selectors.EVENT_READ)
            rest = b""
            while True:
                if not selector.select(pause):
                    yield None
                    continue
                read = os.read(output.fileno(), 65536)
                *lines, rest = (rest + read).split(b"\n")
                if rest and (not read or len(rest) > LONGEST_LINE):
                    lines.append(rest)
                    rest = b""
                for line in lines:
                    yield line.decode(errors="replace")
                if not read:
                    return
        finally:
            _kill_group(process.pid)


def start(
    argv: Sequence[str], *, environment: Mapping[str, str], directory: Path, log: Path, keep: Sequence[int] = ()
) -> int:
    """Start a program that outlives this one: own session, output to ``log``, only the descriptors in ``keep``.

    Returns its process id. Rejected: there is no such program, or the log cannot be written.
    """
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(argv),
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=tuple(keep),
            )
    except OSError as error:
        raise Rejected(_cannot_start(argv, error)) from error
    for child in [pid for pid, status in list(_children.items()) if status is None]:
        exit_status(child)  # or it stays a zombie
    _children[process.pid] = None
    process.returncode = 0  # it is not waited for: no warning when this object goes and the program stays
    return process.pid


def exit_status(pid: int, patience: float = 0.0) -> int | None:
    """How a program from :func:`start` ended (negative: by that signal), waiting so many seconds for it to end.

    None: it runs, or another process started it and gets its status.
    """
    deadline = time.monotonic() + patience
    while _children.get(pid, 0) is None:
        found, status = os.waitpid(pid, os.WNOHANG)
        _children[pid] = os.waitstatus_to_exitcode(status) if found else None
        if time.monotonic() >= deadline:
            break
        time.sleep(0 if found else 0.005)
    return _children.get(pid)


def has_ended(pid: int) -> bool:
    """A program from :func:`start` has ended, whichever process started it; what it started may go on."""
    if exit_status(pid) is not None:
        return True
    try:
        os.kill(pid, 0)
    except OSError:  # there is none, or its number is somebody else's by now
        return True
    return False


def _cannot_start(argv: Sequence[str], error: OSError) -> str:
    return f"cannot start `{argv[0]}`: {error}. Is it installed, and on PATH?"


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, 9)
    except ProcessLookupError:
        return
