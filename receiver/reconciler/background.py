"""What is done after a fetch or a deployment, on a thread of its own: it delays no deployment and fails none."""

import logging
import math
import threading
import time
from collections.abc import Callable

from receiver.core.errors import PinrailError, Retryable

log = logging.getLogger(__name__)

BACKOFF_SECONDS = 30.0  # where the outside does not say when to ask again
STOP_SECONDS = 2.0

# Does it once, and ends early at the event. Returns when to do it again unasked, in seconds since the epoch.
Task = Callable[[threading.Event], float]


class BackgroundTask:
    """Does its task whenever it is woken, one after another; being woken meanwhile means once more."""

    def __init__(self, name: str, task: Task) -> None:
        self._name = name
        self._task = task
        self._woken = threading.Event()
        self._stop = threading.Event()
        self._ended_at = math.inf  # monotonic
        self._last_error = ""  # logged once, not each time
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Wait for the first :meth:`wake`."""
        self._thread.start()

    def wake(self) -> None:
        """Ask for the task; returns at once."""
        self._woken.set()

    def end(self) -> None:
        """End the task at hand early; returns at once."""
        if not self._stop.is_set():
            self._ended_at = time.monotonic()
        self._stop.set()
        self._woken.set()

    def stop(self) -> None:
        """End it and wait. A call to the outside that hangs is left behind: all of it may be repeated."""
        self.end()
        self._thread.join(max(0.0, self._ended_at + STOP_SECONDS - time.monotonic()))

    def _run(self) -> None:
        next_check_at = math.inf
        while not self._stop.is_set():
            self._woken.wait(min(threading.TIMEOUT_MAX, max(0.0, next_check_at - time.time())))
            self._woken.clear()
            if self._stop.is_set():
                return
            try:
                next_check_at = self._task(self._stop)
                self._last_error = ""
            except Retryable as error:
                self._note(error)
                next_check_at = 0.0  # at once, after this pause
                self._stop.wait(BACKOFF_SECONDS if error.after is None else error.after)
            except Exception as error:
                if isinstance(error, PinrailError):
                    self._note(error)
                else:
                    log.exception("%s: a bug", self._name)
                next_check_at = math.inf

    def _note(self, error: PinrailError) -> None:
        log.log(logging.DEBUG if str(error) == self._last_error else logging.WARNING, "%s: %s", self._name, error)
        self._last_error = str(error)
