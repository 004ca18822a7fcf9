"""``python -m serving.confinement PRIVATE FILE``: confine this process and try what must be denied.

It may write into the directory PRIVATE, and not read FILE. Prints what was possible all the same, and then ends with
status 1. A setting or a version number says what a kernel should do; this says what it does.
"""

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from serving.confinement.confine import Reach, confine

DISCARD_PORT = 9


def main(private: Path, file: Path) -> int:
    """Confine and try; returns the exit status."""
    confine(Reach([], [private], hidden=[file.parent]))
    parent = os.getppid()
    attempts: dict[str, Callable[[], object]] = {
        "read other files": file.read_bytes,
        "write other files": lambda: file.write_bytes(b""),
        "speak to programs over Unix sockets": lambda: socket.socket(socket.AF_UNIX),
        "send packets": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        "open connections": lambda: socket.create_connection(("127.0.0.1", DISCARD_PORT), 1),
        "signal other processes": lambda: os.kill(parent, 0),
        "read other processes": Path(f"/proc/{parent}/environ").read_bytes,
        "limit other processes": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
    }
    (private / "own").write_bytes(b"")
    possible = [what for what, attempt in attempts.items() if not _denied(attempt)]
    print(", ".join(possible))  # noqa: T201 - this is what it is for
    return 1 if possible else 0


def _denied(attempt: Callable[[], object]) -> bool:
    with contextlib.suppress(OSError):
        try:
            attempt()
        except PermissionError:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
