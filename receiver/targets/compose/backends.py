"""A front door's two berths: who has the traffic, and who steps in where that one cannot be reached.

``compose/front/haproxy.cfg`` is the other half: it names the berths ``one`` and ``two``.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 2.0
QUESTION = "show map /front/live.map; show servers state model\n"
OTHER = {"one": "two", "two": "one"}


@dataclass(frozen=True, slots=True)
class BackendPair:
    """The services in the berths, and which berth has the traffic."""

    services: tuple[str, str]  # in berth one, in berth two; may be the same
    at: str  # "one" or "two"
    addresses: tuple[str, str] = ("", "")  # where the proxy believes them to be

    @property
    def live(self) -> str:
        """The service that has the traffic."""
        return self.named[self.at]

    @property
    def standby(self) -> str:
        """The service that steps in; the live one again where there is no other."""
        return self.named[OTHER[self.at]]

    @property
    def named(self) -> Mapping[str, str]:
        """Service by berth."""
        return {"one": self.services[0], "two": self.services[1]}

    def switched_to(self, service: str) -> "BackendPair":
        """The same after traffic went to ``service``: it takes the other berth, who had the traffic keeps its own."""
        return BackendPair(self.with_standby(service).services, OTHER[self.at])

    def with_standby(self, service: str) -> "BackendPair":
        """The same with somebody else to step in."""
        services = (self.live, service) if self.at == "one" else (service, self.live)
        return BackendPair(services, self.at)


def write_backends(directory: Path, backends: BackendPair) -> None:
    """Write what the proxy reads when it starts.

    First the berths, then which is live: a proxy that starts between the two finds the traffic where it was.
    """
    text = "global\n" + "".join(f"    setenv {backend.upper()} {name}\n" for backend, name in backends.named.items())
    _replace(directory / "berths.cfg", text)
    _replace(directory / "live.map", f"live {backends.at}\n")


def orders(backends: BackendPair, addresses: Mapping[str, str]) -> str:
    """The command for the running proxy, in one line of its runtime API; ``addresses`` by service.

    Names are for later (a container that restarts elsewhere), addresses for now. The one with the traffic is last.
    """
    commands = []
    for backend in (OTHER[backends.at], backends.at):
        service, server = backends.named[backend], f"model/{backend}"
        commands += [
            f"set server {server} fqdn {service}",
            f"set server {server} addr {addresses[service]} port 8080",
        ]
    commands += [f"set server model/{backends.at} health up", f"set map /front/live.map live {backends.at}"]
    return "; ".join([*commands, QUESTION])


def ask_backends(port: int) -> BackendPair | None:
    """Ask a proxy through its published port. None: no answer that makes sense."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
            connection.sendall(QUESTION.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return None
    return read_backends(answer.decode("ascii", "replace"))


def read_backends(answer: str) -> BackendPair | None:
    """Understand the answer to :data:`QUESTION`. None: it is none."""
    at = re.search(r"^\S+ live (one|two)$", answer, re.MULTILINE)
    rows = [line.split() for line in answer.splitlines()]
    server = {row[3]: row for row in rows if len(row) > 17 and row[1] == "model"}  # noqa: PLR2004 - srv_fqdn is the 18th
    if at is None or not {"one", "two"} <= server.keys():
        return None
    one, two = server["one"], server["two"]
    return BackendPair((one[17], two[17]), at[1], (one[4], two[4]))


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    new.chmod(0o644)  # the proxy is another user
    new.replace(path)
