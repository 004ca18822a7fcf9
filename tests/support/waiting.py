"""Waiting for something to become true, with a deadline, instead of sleeping and hoping."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Return as soon as the condition holds. AssertionError: it did not in time."""
    deadline = time.monotonic() + seconds
    pause = 0.002
    while not condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)
