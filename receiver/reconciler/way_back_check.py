"""Verifying the files of the versions that slots may go back to, once a day. What is missing is fetched."""

import logging
import threading
import time
from collections.abc import Mapping

from receiver.core.deployment import KeptVersion, Verified
from receiver.core.errors import PinrailError
from receiver.core.state import Slot
from receiver.core.way_back import target_of, way_back
from receiver.services import Services

log = logging.getLogger(__name__)

DAY = 86_400.0
RETRY_SECONDS = 600.0  # where the files could not be had


class WayBackCheck:
    """Goes through the versions that serve and those before them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._seen: Mapping[Slot, Verified] = {}
        self._next = 0.0  # seconds since the epoch

    def run(self, stop: threading.Event) -> float:
        """Verify what is due. Returns when to see again, in seconds since the epoch."""
        journal = self._services.journal
        verified = journal.verified()
        if verified == self._seen and time.time() < self._next <= time.time() + DAY:
            return self._next
        due = [time.time() + DAY]
        for slot, serving in sorted(verified.items()):
            both = (serving, target_of(journal, slot, serving.version))
            due += [self._verify(slot.model, each) for each in both if each is not None and not stop.is_set()]
        found = (way_back(journal, slot, serving.version) for slot, serving in sorted(verified.items()))
        journal.note_ways_back([each for each in found if each is not None])
        self._seen, self._next = verified, min(due)
        return self._next

    def _verify(self, model: str, state: Verified) -> float:
        """Verify a version's files, unless that was done lately. Returns when that is due again."""
        version, digest = state.version, state.digest
        if version is None or digest is None:
            return time.time() + DAY
        known = self._services.journal.kept().get((model, version, digest))
        pause = DAY if known is None or not known.problem else RETRY_SECONDS
        if known is not None and 0 <= time.time() - known.at < pause:
            return known.at + pause
        problem = ""
        try:
            self._services.registry.artifacts(model, version, digest)
        except PinrailError as error:
            problem = f"its files are not on this machine: {error}"
            log.warning("%s v%d cannot be gone back to: %s", model, version, error)
        now = time.time()
        self._services.journal.keep(KeptVersion(model, version, digest, now, problem))
        return now + (RETRY_SECONDS if problem else DAY)
