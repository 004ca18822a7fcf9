"""Waiting for a model server that starts."""

import time
from collections.abc import Callable

from receiver.core.state import Server
from receiver.ports import Stop


def wait_until_healthy(
    check: Callable[[], Server | None], seconds: float, poll_seconds: float, stop: Stop
) -> Server | None:
    """Call ``check`` until it returns the healthy server; None: it did not within ``seconds``.

    ``check`` raises VersionFailed where waiting longer would not help, because the server has ended; ``stop`` raises
    Interrupted where nobody waits for it any more.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stop()
        server = check()
        if server is not None:
            return server
        time.sleep(poll_seconds)
    return None
