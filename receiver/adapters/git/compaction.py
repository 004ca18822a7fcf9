"""Removes from the mirrors what no branch needs any more: heads from before a force push, objects of pull requests.

Git itself keeps these for weeks, or for good in a pack that it does not touch. A mirror with too much of it is copied
without, beside it and without its lock, since the copy of a large one takes minutes; then the copy takes its place.
"""

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from receiver.adapters.git.command import Git, GitFailed, Remote
from receiver.adapters.git.files import fetch
from receiver.adapters.git.mirror import CLONE_SECONDS
from receiver.adapters.git.turn import turn
from receiver.core.errors import Retryable
from serving.model.digest import bytes_below

log = logging.getLogger(__name__)

GARBAGE_BYTES = 64 * 1024 * 1024
CHECK_SECONDS = 3600.0
BRANCHES = "+refs/heads/*:refs/heads/*"


class MirrorCompaction:
    """Keeps each mirror below its size plus :data:`GARBAGE_BYTES`."""

    def __init__(self, mirrors: Sequence[Path]) -> None:
        self._mirrors = mirrors
        self._needed: dict[Path, int] = {}  # bytes of each that its branches needed at the last check

    def run(self, _stop: threading.Event) -> float:
        """Check all. Returns when to check again, in seconds since the epoch."""
        for mirror in self._mirrors:
            try:
                self._check(mirror)
            except (GitFailed, Retryable, OSError) as error:  # it is damaged or was replaced: who reads it heals it
                log.info("%s was not made smaller: %s", mirror, error)
        return time.time() + CHECK_SECONDS

    def _check(self, mirror: Path) -> None:
        before = bytes_below(mirror / "objects")
        if before < self._needed.get(mirror, 0) + GARBAGE_BYTES:
            return  # counting what the branches need takes seconds
        count = _git(mirror)("rev-list", "--disk-usage", "--objects", "--all", seconds=CLONE_SECONDS)
        self._needed[mirror] = needed = int(count)
        if before - needed > GARBAGE_BYTES:
            _copy_and_replace(mirror)
            freed = before - bytes_below(mirror / "objects")
            log.info("%s: removed %d MB that no branch needs any more", mirror, freed >> 20)


def _git(directory: Path, origin: Path | None = None) -> Git:
    return Git(directory, Remote(f"file://{origin or directory}", "file"))


def _copy_and_replace(mirror: Path) -> None:
    copy = _git(mirror.with_name(mirror.name + ".compact"), mirror)
    shutil.rmtree(copy.directory, ignore_errors=True)
    try:
        copy("init", "--quiet", "--bare", "--template=", "--", str(copy.directory))
        fetch(copy, BRANCHES, seconds=CLONE_SECONDS)
        with turn(mirror):
            fetch(copy, BRANCHES)  # what came in meanwhile
            shutil.rmtree(mirror)
            copy.directory.rename(mirror)
    finally:
        shutil.rmtree(copy.directory, ignore_errors=True)
