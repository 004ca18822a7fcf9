"""Bounds what clients can make a server log: how often the same message, and whether their values are in it."""

import logging
import time
import traceback

PER_MINUTE = 20
WINDOW_SECONDS = 60.0


class RepeatLimit(logging.Filter):
    """Lets each message through so many times a window, and counts the rest. Put it on the logger that is asked."""

    def __init__(self, most: int = PER_MINUTE, seconds: float = WINDOW_SECONDS) -> None:
        super().__init__()
        self._most = most
        self._seconds = seconds
        self._seen: dict[str, tuple[float, int]] = {}  # by template: when its window began, records since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it; the first of a new window says how many were left out before."""
        template = str(record.msg)
        began, count = self._seen.get(template, (0.0, 0))
        now = time.monotonic()
        if count and now - began < self._seconds:
            self._seen[template] = (began, count + 1)
            return count < self._most
        if count > self._most:
            left_out = count - self._most
            record.msg, record.args = f"{record.getMessage()} ({left_out} more like it were not logged before)", None
        self._seen[template] = (now, 1)
        return True


class WithoutValues(logging.Filter):
    """Leaves out what exceptions say, which a model may have made of its input; their types and places stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Log every record."""
        if record.exc_info and record.exc_info[0] is not None:
            kind, _, place = record.exc_info
            record.exc_text = "".join([*traceback.format_tb(place), f"{kind.__name__} (its text may hold input)"])
            record.exc_info = None
        return True
