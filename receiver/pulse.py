"""Noticing between two looks that a live server has ended, so that healing does not wait for the timer."""

import time
from collections.abc import Sequence

from receiver.core.errors import PinrailError
from receiver.core.state import Role, Server
from receiver.ports import Target

PULSE_SECONDS = 2.0


class Pulse:
    """Remembers who was live. Not for several threads."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._live: dict[str, Server] = {}
        self._next = 0.0  # monotonic

    def expect(self, servers: Sequence[Server]) -> None:
        """What a job saw at its end: whoever was live then should be at the next pulse."""
        self._live = {server.id: server for server in servers if server.role is Role.LIVE}

    def ended(self) -> Sequence[Server]:
        """Servers that were live at the last pulse and do not answer any more; asks only once per pulse."""
        now = time.monotonic()
        if now < self._next:
            return ()
        self._next = now + PULSE_SECONDS
        try:
            servers = self._target.observe()
        except PinrailError:
            return ()  # the timer's look will say why
        there = {server.id for server in servers}
        gone = [server for id_, server in self._live.items() if id_ not in there]
        self.expect(servers)
        return gone
