"""Ports for the demo: the usual ones, or free ones if those are taken."""

import socket
from dataclasses import dataclass

USUAL = {"staging": 8000, "production": 8001, "webhooks": 9000, "dashboard": 9001, "MLflow": 5000}


@dataclass(frozen=True, slots=True)
class Ports:
    """The chosen port of each part, and the usual ports that are taken."""

    chosen: dict[str, int]
    taken: dict[str, int]  # part -> its usual port, in use by another program


def choose() -> Ports:
    """Keep each usual port that is free and replace the others by what the system has free now."""
    chosen: dict[str, int] = {}
    taken: dict[str, int] = {}
    for part, usual in USUAL.items():
        port = usual
        if not _is_free(usual):
            taken[part] = usual
            port = _any_free(set(chosen.values()) | set(USUAL.values()))
        chosen[part] = port
    return Ports(chosen, taken)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _any_free(avoid: set[int]) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in avoid:
            return port
