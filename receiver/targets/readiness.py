"""Waiting for model servers that start."""

import time
from collections.abc import Callable
from typing import TypeVar

from receiver.ports import Stop

T = TypeVar("T")


def wait_until_healthy(check: Callable[[], T], seconds: float, poll_seconds: float, stop: Stop) -> T | None:
    """Call ``check`` until it returns something; None: it did not within ``seconds``.

    ``check`` raises VersionFailed where waiting longer would not help, because a server has ended; ``stop`` raises
    Interrupted where nobody waits for it any more.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stop()
        if found := check():
            return found
        time.sleep(poll_seconds)
    return None
