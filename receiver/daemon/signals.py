"""The signals that end the receiver."""

import signal
import socket

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
