"""Ports for tests."""

import random
import socket


def free_port() -> int:
    """A loopback port that nobody listens on, below those that the system hands out by itself.

    One of the system's own could be taken by anybody's outgoing connection before it is used.
    """
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311 - no secret
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
