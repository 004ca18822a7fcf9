"""Keeps each log of the state directory below a limit: whoever asks a model server may make it write.

The programs keep their logs open, to append to them. So a log is cut in its place, and what it ended with is kept
beside it.
"""

import logging
import os
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)

LIMIT = 10 * 1024 * 1024  # bytes, as of a container's log
KEPT = 1024 * 1024  # bytes of the end
CHECK_SECONDS = 10.0


class LogRotation:
    """Cuts what grew too long. Whole logs are removed by who knows their programs, and what was cut off with them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def run(self, _stop: threading.Event) -> float:
        """Check all logs. Returns when to check again, in seconds since the epoch."""
        for path in self._directory.glob("*.log*"):
            try:
                size = path.stat().st_size
                if path.suffix == ".log" and size > LIMIT:
                    _cut(path, size)
                elif path.suffix == ".1" and not path.with_suffix("").exists():
                    path.unlink()
            except FileNotFoundError:  # its server was forgotten meanwhile
                continue
            except OSError as error:
                log.warning("%s: %s", path, error.strerror)
        return time.time() + CHECK_SECONDS


def _cut(path: Path, size: int) -> None:
    with path.open("rb") as file:
        file.seek(size - KEPT)
        end = file.read(KEPT)
    os.truncate(path, 0)  # first, so that a full disk has room for what is kept
    path.with_name(f"{path.name}.1").write_bytes(end)
    log.warning("%s was cut at %d MB; its end is in %s.1", path, size >> 20, path.name)
