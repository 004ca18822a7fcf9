"""What a person at a terminal sees while a command takes its time. The terminal is real; the command is not."""

import os
import pty
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from receiver.cli.progress import progress
with progress("asking the registry ..."):
    sys.stdin.readline()
print("done")
"""


def started(stderr: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "TERM": "xterm"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        cwd=ROOT,
    )


def read_until(terminal: int, text: bytes) -> bytes:
    seen, deadline = b"", time.monotonic() + 20
    while text not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536)
    return seen


def test_a_terminal_is_shown_what_is_waited_for() -> None:
    ours, theirs = pty.openpty()
    process = started(theirs)
    os.close(theirs)
    assert b"asking the registry ..." in read_until(ours, b"asking the registry ...")
    assert process.communicate(b"\n", timeout=20)[0] == b"done\n"
    os.close(ours)


def test_a_quick_command_shows_nothing() -> None:
    ours, theirs = pty.openpty()
    process = started(theirs)
    assert process.communicate(b"\n", timeout=20)[0] == b"done\n"
    os.close(theirs)
    assert read_until_closed(ours) == b""


def read_until_closed(terminal: int) -> bytes:
    seen = b""
    with suppress(OSError):  # how a terminal says that its other side is closed
        while read := os.read(terminal, 65536):
            seen += read
    os.close(terminal)
    return seen


def test_a_pipe_is_shown_nothing() -> None:
    process = started(subprocess.PIPE)
    assert process.communicate(b"\n", timeout=20) == (b"done\n", b"")
