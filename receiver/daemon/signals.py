"""The signals that end the receiver."""

import logging
import os
import signal
import socket
import threading

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ShutdownSignal:
    """Notes signals from when it is made, for the main thread to wait for.

    Through a socket: the kernel may hand a signal to any thread, and Python runs its handlers in the main one alone,
    which may sleep at a lock that nothing wakes. What the interpreter writes into the socket does wake it.
    """

    def __init__(self) -> None:
        self._reader, writer = socket.socketpair()
        writer.setblocking(False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)  # to be noted instead of ending the process
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self._writer = writer  # as long as the interpreter writes to it

    def wait(self) -> None:
        """Return once one of the signals has come."""
        self._reader.recv(1)

    def end_at_the_next(self) -> None:
        """From now on another SIGINT or SIGTERM ends the process at once, as a crash would."""
        threading.Thread(target=self._end, name="second signal", daemon=True).start()

    @staticmethod
    def end_after(seconds: float) -> None:
        """End the process then, with status 0, if it has not ended by itself: it was asked to, and may not hang."""

        def end() -> None:
            log.warning("something does not end within %g s: the next start finds what it left", seconds)
            os._exit(0)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()

    def _end(self) -> None:
        while self._reader.recv(1)[0] == signal.SIGHUP:  # a terminal that is closed, perhaps after the first Ctrl-C
            pass
        log.warning("stopping at once: the next start finishes what is under way, or rolls it back")
        os._exit(128 + signal.SIGINT)
