"""Taking turns at a mirror, across processes."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from receiver.adapters.time_limit import at_most
from receiver.core.errors import Retryable

LOCK_SECONDS = 120.0  # longer than most fetches: whoever holds the mirror is done by then


@contextmanager
def turn(mirror: Path) -> Iterator[int]:
    """Hold the mirror. Yields the lock's descriptor, for git to inherit: an orphan holds it until it ends.

    Retryable: another process has held it for too long.
    """
    path = mirror.with_name(mirror.name + ".turn")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    seconds = at_most(LOCK_SECONDS)
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Retryable(f"another process has held {path} for {seconds:.3g} s") from error
            time.sleep(0.02)
