"""One receiver per state directory: a file lock, which the kernel releases when its holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from receiver.core.errors import Rejected


@contextmanager
def exclusive(state: Path) -> Iterator[None]:
    """Hold ``<state>/lock``. Rejected: another process holds it (named), or the file cannot be written."""
    path = state / "lock"
    try:
        state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Rejected(
            f"{path} cannot be written: {error.strerror}. Make {state} writable for this user, or give this receiver "
            "another PINRAIL_STATE_DIR."
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise Rejected(
                f"{path} is held by {who}: a receiver already runs on this state directory. "
                "Stop it first, or give this one another PINRAIL_STATE_DIR."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)  # keep the file: after its removal two processes could each lock one of that name


def holder(state: Path) -> int | None:
    """The id of the process that holds ``<state>/lock``; 0: not recorded yet; None: nobody holds it."""
    try:
        descriptor = os.open(state / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        recorded = os.read(descriptor, 32).decode("ascii", "replace").strip()
        return int(recorded) if recorded.isdigit() else 0
    else:
        return None
    finally:
        os.close(descriptor)
