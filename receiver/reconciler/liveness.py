"""Noticing between two looks that a live server has ended, so that healing does not wait for the timer."""

import time
from collections.abc import Collection

from receiver.core.errors import PinrailError
from receiver.core.state import Role, Slot
from receiver.ports import Target

POLL_SECONDS = 2.0


class LivenessMonitor:
    """Knows which slots should have a live server. Not for several threads."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._expected: frozenset[Slot] = frozenset()
        self._reported: frozenset[Slot] = frozenset()
        self._next = 0.0  # monotonic

    def expect(self, slots: Collection[Slot]) -> None:
        """The slots in which a version is verified live, as a job left them."""
        self._expected = frozenset(slots)

    def ended(self) -> Collection[Slot]:
        """Slots whose live server is gone, reported once until it is back; asks the target once per check."""
        now = time.monotonic()
        if now < self._next:
            return ()
        self._next = now + POLL_SECONDS
        try:
            live = {server.spec.slot for server in self._target.observe() if server.role is Role.LIVE}
        except PinrailError:
            return ()  # the timer's look will say why
        missing = self._expected - live
        newly_missing = missing - self._reported
        self._reported = missing
        return newly_missing
