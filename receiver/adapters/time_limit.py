"""How long all that a task calls may take together, and what ends it early.

A delivery makes any number of calls, each with a timeout of its own. Who starts it sets the limit of the whole; what
waits for the outside, far below, asks how much of it is left.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from receiver.core.errors import Retryable


@dataclass(frozen=True, slots=True)
class _Limit:
    seconds: float
    until: float  # monotonic
    stop: threading.Event


_current: ContextVar[_Limit | None] = ContextVar("time limit", default=None)


@contextmanager
def time_limit(seconds: float, stop: threading.Event | None = None) -> Iterator[None]:
    """Give what is called inside, on this thread, so many seconds in all, and end its programs at ``stop``.

    Inside another limit, whichever ends first counts.
    """
    outer, until = _current.get(), time.monotonic() + seconds
    if outer is not None:
        stop = stop or outer.stop
        if outer.until < until:
            seconds, until = outer.seconds, outer.until
    token = _current.set(_Limit(seconds, until, stop or threading.Event()))
    try:
        yield
    finally:
        _current.reset(token)


def at_most(seconds: float) -> float:
    """So many seconds, or what is left where that is less. Retryable: nothing is left."""
    limit = _current.get()
    if limit is None:
        return seconds
    left = limit.until - time.monotonic()
    if left <= 0:
        raise Retryable(f"it took longer than {limit.seconds:g} s in all")
    return min(seconds, left)


def stop_event() -> threading.Event | None:
    """What ends the task early; None: nothing does."""
    limit = _current.get()
    return None if limit is None else limit.stop
