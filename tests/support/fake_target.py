"""A target in memory, for tests of the flow. The contract suite holds it to what the real ones do."""

from collections.abc import Sequence
from dataclasses import replace

from receiver.core.errors import PinrailError, Rejected, VersionFailed
from receiver.core.port_moves import given_twice
from receiver.core.state import Role, Server, ServerSpec, Slot
from receiver.ports import Stop, never


class FakeTarget:
    """Servers that are nothing but their description. ``broken``: versions that never become healthy."""

    def __init__(self, broken: frozenset[int] = frozenset()) -> None:
        self.broken = broken
        self.servers: dict[str, Server] = {}
        self.foreign_ports: set[int] = set()  # taken by other programs
        self.packages: dict[int, str] = {}  # what versions need beside what is here
        self.installed: set[str] = set()
        self.failing: dict[int, PinrailError] = {}  # what comes of installing it
        self.unsuitable: set[int] = set()
        self.ends: dict[Slot, str] = {}
        self.no_limits = ""  # why none can be set
        self._started = 0

    def observe(self) -> Sequence[Server]:
        return list(self.servers.values())

    def refusal(self, spec: ServerSpec) -> str:
        return self.no_limits if spec.limited else ""

    def unverified_packages(self, spec: ServerSpec) -> str:
        return self.packages.get(spec.version, "")

    def missing_packages(self, spec: ServerSpec) -> str:
        if spec.version in self.unsuitable:
            raise Rejected(f"{spec.slot} v{spec.version} can't be loaded here: it is code of Python 2.7")
        needed = self.packages.get(spec.version, "")
        return "" if needed in self.installed else needed

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        stop()
        if spec.version in self.failing:
            raise self.failing[spec.version]
        self.installed.add(self.packages.get(spec.version, ""))

    def start(self, spec: ServerSpec, stop: Stop = never, at_once: int = 1) -> Server:
        for server in self.servers.values():
            if server.spec == spec:
                self.servers[server.id] = replace(server, urls=self._urls(server.id, spec))
                return self.servers[server.id]
        if spec.version in self.broken:
            raise VersionFailed(f"{spec.slot} v{spec.version} ended while it was starting.\nit is broken")
        if self.missing_packages(spec):
            self.install(spec, stop)
        self._started += 1
        name = f"fake-{self._started}"
        server = Server(name, spec, Role.CANDIDATE, self._urls(name, spec))
        self.servers[server.id] = server
        return server

    @staticmethod
    def _urls(name: str, spec: ServerSpec) -> tuple[str, ...]:
        return tuple(f"http://{name}-{number}" for number in range(spec.replicas))

    def switch(self, server: Server) -> None:
        if server.id not in self.servers or self.servers[server.id].missing:
            raise VersionFailed(f"{server.spec.slot} v{server.spec.version} cannot have traffic: it does not answer.")
        self._require_port(server, [server.spec.slot])
        self._give_traffic(server)

    def exchange(self, servers: Sequence[Server]) -> None:
        moving = [server.spec.slot for server in servers]
        if why := given_twice({server.spec.slot: server.spec.port for server in servers}):
            raise Rejected(why)
        for server in servers:
            if server.id not in self.servers:
                raise Rejected(f"{server.spec.slot} v{server.spec.version} cannot have traffic: it does not answer.")
            self._require_port(server, moving)
        for server in servers:
            self._give_traffic(server)

    def _require_port(self, server: Server, moving: Sequence[Slot]) -> None:
        others = [s.spec for s in self.observe() if s.role is Role.LIVE and s.spec.slot not in moving]
        if server.spec.port in {*self.foreign_ports, *(other.port for other in others)}:
            raise Rejected(f"{server.spec.slot}: port {server.spec.port} is taken")

    def _give_traffic(self, server: Server) -> None:
        for other in self.observe():
            if other.spec.slot == server.spec.slot and other.role is Role.LIVE:
                self.servers[other.id] = replace(other, role=Role.STANDBY)
        self.servers[server.id] = replace(self.servers[server.id], role=Role.LIVE)

    def retire(self, server: Server) -> None:
        self.servers.pop(server.id, None)

    def how_ended(self, slot: Slot) -> str:
        return self.ends.pop(slot, "")

    def log_tail(self, server: Server) -> str:
        return f"{server.id} said nothing"

    def drain(self, server: Server) -> None:
        """The server stops to accept, and nobody follows."""
        self.servers[server.id] = replace(self.servers[server.id], role=Role.STANDBY)

    def lose_replica(self, server: Server) -> None:
        """One of the server's replicas ends by itself."""
        found = self.servers[server.id]
        self.servers[server.id] = replace(found, urls=found.urls[1:])

    def die(self, server: Server) -> None:
        """The server ends by itself."""
        del self.servers[server.id]

    def public_version(self, port: int) -> int | None:
        """The version that answers on a public port."""
        found = (s.spec.version for s in self.servers.values() if s.role is Role.LIVE and s.spec.port == port)
        return next(found, None)
