"""A front door's two backends: the live one, and the standby that answers where the live one cannot be reached.

``compose/front/haproxy.cfg`` is the other half: it names them ``one`` and ``two``.
"""

import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 2.0
MODEL_PORT = 8080  # in every model server's container
QUESTION = "show map /front/live.map; show servers state model\n"
OTHER = {"one": "two", "two": "one"}


@dataclass(frozen=True, slots=True)
class BackendPair:
    """The addresses of both backends, and which of them has the traffic."""

    addresses: tuple[str, str]  # of one, of two; may be the same
    at: str  # "one" or "two"

    @property
    def live(self) -> str:
        """The address that has the traffic."""
        return self.named[self.at]

    @property
    def standby(self) -> str:
        """The address that steps in; the live one again where there is no other."""
        return self.named[OTHER[self.at]]

    @property
    def named(self) -> Mapping[str, str]:
        """Address by name."""
        return {"one": self.addresses[0], "two": self.addresses[1]}

    def switched_to(self, address: str) -> "BackendPair":
        """The same after traffic went to ``address``: it takes the other name, who had the traffic keeps its own."""
        return BackendPair(self.with_standby(address).addresses, OTHER[self.at])

    def with_standby(self, address: str) -> "BackendPair":
        """The same with somebody else to step in."""
        addresses = (self.live, address) if self.at == "one" else (address, self.live)
        return BackendPair(addresses, self.at)


def write_backends(directory: Path, backends: BackendPair) -> None:
    """Write what the proxy reads when it starts.

    First the addresses, then which is live: a proxy that starts between the two finds the traffic where it was.
    """
    text = "global\n" + "".join(f"    setenv {name.upper()} {at}\n" for name, at in backends.named.items())
    directory.mkdir(parents=True, exist_ok=True)  # somebody may have removed it under a running proxy
    _replace(directory / "berths.cfg", text)
    _replace(directory / "live.map", f"live {backends.at}\n")


def orders(backends: BackendPair) -> str:
    """The commands for the running proxy, in one line of its runtime API; the one with the traffic comes last."""
    commands = [
        f"set server model/{backend} addr {backends.named[backend]} port {MODEL_PORT}"
        for backend in (OTHER[backends.at], backends.at)
    ]
    commands += [f"set server model/{backends.at} health up", f"set map /front/live.map live {backends.at}"]
    return "; ".join([*commands, QUESTION])


def ask_proxy(path: Path, line: str) -> str:
    """One line for a proxy's runtime API, and its answer. Raises OSError: it does not answer."""
    deadline = time.monotonic() + SECONDS
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(f"/proc/self/fd/{directory}/{path.name}")  # a socket's own path may have 107 bytes
            connection.sendall(line.encode())
            answer = b""
            while received := connection.recv(65536):
                answer += received
                connection.settimeout(max(deadline - time.monotonic(), 0.01))
    finally:
        os.close(directory)
    return answer.decode("ascii", "replace")


def ask_backends(path: Path) -> BackendPair | None:
    """Ask a proxy what it does. None: no answer that makes sense."""
    try:
        return read_backends(ask_proxy(path, QUESTION))
    except OSError:
        return None


def read_backends(answer: str) -> BackendPair | None:
    """Understand the answer to :data:`QUESTION`. None: it is none."""
    at = re.search(r"^\S+ live (one|two)$", answer, re.MULTILINE)
    rows = [line.split() for line in answer.splitlines()]
    address = {row[3]: row[4] for row in rows if len(row) > 4 and row[1] == "model"}  # noqa: PLR2004 - srv_addr
    if at is None or not {"one", "two"} <= address.keys():
        return None
    return BackendPair((address["one"], address["two"]), at[1])


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    new.chmod(0o644)  # the proxy is another user
    new.replace(path)
