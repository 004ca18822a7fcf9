"""Removing from this machine what nobody needs any more: versions and their packages that are long out of use."""

import logging
import threading
import time
from collections.abc import Mapping

from receiver.core.way_back import target_of
from receiver.ports import ArtifactCache
from receiver.services import Services

log = logging.getLogger(__name__)

HOUR, DAY = 3600.0, 86_400.0
UNUSED_DAYS = 30


class CacheCleanup:
    """Prunes the caches, each with its name, every hour. What runs, is verified, or would be gone back to stays."""

    def __init__(self, services: Services, caches: Mapping[str, ArtifactCache], most_bytes: float) -> None:
        """``most_bytes``: for each cache."""
        self._services = services
        self._caches = caches
        self._most_bytes = most_bytes
        self._next = 0.0  # monotonic

    def tidy(self, _stop: threading.Event) -> float:
        """Look whether it is time. Returns when to look again, in seconds since the epoch."""
        if time.monotonic() >= self._next:
            journal = self._services.journal
            verified = journal.verified()
            before = (target_of(journal, slot, serving.version) for slot, serving in verified.items())
            in_use = {server.spec.digest for server in self._services.target.observe()}
            in_use |= {was.digest for was in (*verified.values(), *before) if was is not None and was.digest}
            for what, cache in self._caches.items():
                if gone := cache.prune(in_use, UNUSED_DAYS * DAY, self._most_bytes):
                    log.info("%d %s that were not used for long are no longer kept here", gone, what)
            self._next = time.monotonic() + HOUR
        return time.time() + HOUR
