"""The state directory belongs to its owner alone, and to one receiver: a file lock that the kernel releases."""

import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from receiver.core.errors import Rejected

log = logging.getLogger(__name__)


def make_private(state: Path) -> None:
    """Create the directory for its owner only (0700), or close an existing one to others. Raises OSError.

    What containers mount stays readable to them: the engine resolves mounts by itself, whatever is above them.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = stat.S_IMODE(state.stat().st_mode)
    if mode & 0o077:
        state.chmod(mode & 0o700)
        log.info("%s was open to other users (mode %04o); it is private now", state, mode)


@contextmanager
def exclusive(state: Path) -> Iterator[None]:
    """Hold ``<state>/lock``. Rejected: another process holds it (named), or the file cannot be written."""
    path = state / "lock"
    try:
        make_private(state)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Rejected(
            f"{path} cannot be written: {error.strerror}. Make {state} writable for this user, or give this receiver "
            "another PINRAIL_STATE_DIR."
        ) from error
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:  # an earlier Pinrail's; who reads it can lock it
            os.fchmod(descriptor, 0o600)
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
