"""The directory that segments lie in until the receiver collects them, and the key beside them."""

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

KEY = "key"  # the file that hashes are keyed with; made by the receiver
KEY_BYTES = 32


def write_whole(path: Path, content: bytes) -> None:
    """Let the file appear with all of its content, or not at all. OSError: it cannot be written."""
    hidden = path.with_name(f".{path.name}")
    try:
        with hidden.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            hidden.unlink()
        raise


def waiting_bytes(directory: Path) -> int:
    """How much lies in the directory. OSError: there is none."""
    total = 0
    with os.scandir(directory) as found:
        for entry in found:
            with contextlib.suppress(FileNotFoundError):  # collected meanwhile
                total += entry.stat(follow_symlinks=False).st_size
    return total


def read_key(directory: Path) -> bytes | None:
    """The key, or None with a warning."""
    try:
        return (directory / KEY).read_bytes()[:KEY_BYTES] or None
    except OSError as error:
        log.warning("%s: columns to hash are dropped, for the key cannot be read: %s", directory, error.strerror)
        return None
