"""What a person sees while a command takes its time: on a terminal only, on standard error, after a second."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_SECONDS = 1.0


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Show ``text`` while the block takes longer than a second; what is yielded replaces it."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    status = Console(stderr=True).status(text)
    timer = threading.Timer(PATIENCE_SECONDS, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield status.update
    finally:
        timer.cancel()
        timer.join()  # or it may start after it was stopped
        status.stop()
