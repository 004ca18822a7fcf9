"""A front door's two backends: the live one, and the standby that answers where the live one cannot be reached.

Each has a server for every replica, and those of the other one for when none of its own can be reached.
``compose/front/haproxy.cfg`` is the other half: it chooses between ``one`` and ``two``.
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ml.environment.schema import MOST_REPLICAS

SECONDS = 2.0
MODEL_PORT = 8080  # in every model server's container
QUESTION = "show map /front/live.map; show servers state\n"
OTHER = {"one": "two", "two": "one"}
OWN, OTHERS = "r", "s"  # the names of servers in a backend: r1, r2 are its own, s1, s2 those that step in
IN_MAINTENANCE = 0x23  # in srv_admin_state: a place that nobody has
NOBODY = "192.0.2.1"  # an address that no server has

Addresses = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BackendPair:
    """The addresses of both backends, one per replica, and which of them has the traffic."""

    addresses: tuple[Addresses, Addresses]  # of one, of two; may be the same
    at: str  # "one" or "two"

    @property
    def live(self) -> Addresses:
        """The addresses that have the traffic."""
        return self.named[self.at]

    @property
    def standby(self) -> Addresses:
        """The addresses that step in; the live ones again where there are no others."""
        return self.named[OTHER[self.at]]

    @property
    def named(self) -> Mapping[str, Addresses]:
        """Addresses by name."""
        return {"one": self.addresses[0], "two": self.addresses[1]}

    def switched_to(self, addresses: Addresses) -> "BackendPair":
        """The same after traffic went to ``addresses``.

        They take the other name, and who had the traffic keeps its own. So does a server that has the traffic already
        and of which replicas were replaced: those that stay keep their places, and so their connections.
        """
        if set(addresses) & set(self.live):
            kept = _in_place(self.live, addresses)
            return BackendPair((kept, self.standby) if self.at == "one" else (self.standby, kept), self.at)
        return BackendPair(self.with_standby(addresses).addresses, OTHER[self.at])

    def with_standby(self, addresses: Addresses) -> "BackendPair":
        """The same with somebody else to step in."""
        pair = (self.live, addresses) if self.at == "one" else (addresses, self.live)
        return BackendPair(pair, self.at)


def _in_place(before: Addresses, addresses: Addresses) -> Addresses:
    """The same addresses, in the order of those that were there before."""
    new = iter([address for address in addresses if address not in before])
    kept = [address if address in addresses else next(new, None) for address in before]
    return (*(address for address in kept if address is not None), *new)


def write_backends(directory: Path, backends: BackendPair) -> None:
    """Write what the proxy reads when it starts.

    First the addresses, then which is live: a proxy that starts between the two finds the traffic where it was.
    """
    lines = []
    for name in ("one", "two"):
        lines.append(f"backend {name}")
        for server, address in _places(backends, name):
            backup = " backup" if server.startswith(OTHERS) else ""
            used = "" if address else " disabled"
            lines.append(f"    server {server} {address or NOBODY}:{MODEL_PORT}{backup}{used}")
    directory.mkdir(parents=True, exist_ok=True)  # somebody may have removed it under a running proxy
    _replace(directory / "berths.cfg", "\n".join([*lines, ""]))
    _replace(directory / "live.map", f"serving {backends.at}\n")


def orders(backends: BackendPair) -> str:
    """The commands for the running proxy, in one line of its runtime API; the one with the traffic comes last.

    A proxy of an earlier Pinrail knows none of these names, so it does nothing.
    """
    commands = []
    for name in (OTHER[backends.at], backends.at):
        for server, address in _places(backends, name):
            if address:
                commands.append(f"set server {name}/{server} addr {address} port {MODEL_PORT}")
            commands.append(f"set server {name}/{server} state {'ready' if address else 'maint'}")
    well = [f"set server {backends.at}/{OWN}{number + 1} health up" for number in range(len(backends.live))]
    return "; ".join([*commands, *well, f"set map /front/live.map serving {backends.at}", QUESTION])


def _places(backends: BackendPair, name: str) -> Iterator[tuple[str, str]]:
    """The servers of a backend with their addresses, empty where nobody has the place."""
    for prefix, addresses in ((OWN, backends.named[name]), (OTHERS, backends.named[OTHER[name]])):
        for number in range(MOST_REPLICAS):
            yield f"{prefix}{number + 1}", addresses[number] if number < len(addresses) else ""


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


def is_of_an_earlier_pinrail(path: Path) -> bool:
    """A proxy's configuration is one that takes no orders from this Pinrail."""
    try:
        return _of_an_earlier_pinrail(ask_proxy(path, QUESTION)) is not None
    except OSError:
        return False


def read_backends(answer: str) -> BackendPair | None:
    """Understand the answer to :data:`QUESTION`. None: it is none."""
    at = re.search(r"^\S+ serving (one|two)$", answer, re.MULTILINE)
    rows = [line.split() for line in answer.splitlines()]
    found: dict[str, list[str]] = {"one": [], "two": []}
    for row in rows:  # backend, server, address and administrative state are the 2nd, 4th, 5th and 7th field
        if len(row) > 6 and row[1] in found and row[3].startswith(OWN) and not int(row[6]) & IN_MAINTENANCE:  # noqa: PLR2004
            found[row[1]].append(row[4])
    if at is None or not found["one"] or not found["two"]:
        return _of_an_earlier_pinrail(answer)
    return BackendPair((tuple(found["one"]), tuple(found["two"])), at[1])


def _of_an_earlier_pinrail(answer: str) -> BackendPair | None:
    """Understand a front door whose configuration has one server per backend: it is renewed at the next switch."""
    at = re.search(r"^\S+ live (one|two)$", answer, re.MULTILINE)
    rows = [line.split() for line in answer.splitlines()]
    address = {row[3]: row[4] for row in rows if len(row) > 4 and row[1] == "model"}  # noqa: PLR2004 - srv_addr
    if at is None or not {"one", "two"} <= address.keys():
        return None
    return BackendPair(((address["one"],), (address["two"],)), at[1])


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    new.chmod(0o644)  # the proxy is another user
    new.replace(path)
