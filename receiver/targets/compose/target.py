"""Model servers as containers: the target for real stacks. Each slot is a compose project of its own.

A front door (HAProxy) holds the slot's public port; model servers come and go behind it. What runs is asked of the
engine, who has the traffic of the front doors; nothing about them is remembered here, so the next receiver finds all,
and several threads may act on different slots at once.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.adapters.prober import is_healthy
from receiver.core.errors import Rejected, Retryable, VersionFailed
from receiver.core.state import USEFULNESS, Server, ServerSpec
from receiver.ports import Stop, never
from receiver.targets.compose import containers as discovery
from receiver.targets.compose.backends import BackendPair
from receiver.targets.compose.containers import ContainerDiscovery, FrontContainer, ServerContainer
from receiver.targets.compose.exchange import exchange_ports
from receiver.targets.compose.front import made_of
from receiver.targets.compose.image import require_image
from receiver.targets.compose.log_tail import log_tail
from receiver.targets.compose.network import choose_address, require_network
from receiver.targets.compose.packages import ImagePackages
from receiver.targets.compose.project import Place, create_server, egress_network, forget_project
from receiver.targets.compose.proxy import FrontDoors
from receiver.targets.readiness import wait_until_healthy

START_SECONDS = 60.0
DRAIN_SECONDS = 35  # a model server takes up to 30 for its last answers
POLL_SECONDS = 0.03
CHECK_SECONDS = 0.3  # how often to ask the engine whether a starting container still runs


class EndedError(VersionFailed):
    """A server ended while it was starting."""


class ComposeTarget:
    """Implements :class:`receiver.ports.Target`."""

    def __init__(self, docker: Docker, place: Place, start_seconds: float = START_SECONDS) -> None:
        self.place = place
        self.start_seconds = start_seconds
        self._docker = docker
        self._fronts = FrontDoors(docker, place)
        self._packages = ImagePackages(docker, place)
        self._choosing = threading.Lock()
        self._chosen: set[str] = set()  # addresses of containers that are being created

    def observe(self) -> Sequence[Server]:
        """See :meth:`receiver.ports.Target.observe`. A server that hangs does not answer, so it is not listed."""
        return self._described(discovery.discover(self._docker, self.place.owner))

    def needed_packages(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.needed_packages`."""
        return self._asked(self._packages.needed, spec)

    def missing_packages(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.missing_packages`."""
        return self._asked(self._packages.missing, spec)

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Target.install`."""
        require_image(self._docker, self.place.image)
        self._packages.image(spec, stop)

    def start(self, spec: ServerSpec, stop: Stop = never, at_once: int = 1) -> Server:
        """See :meth:`receiver.ports.Target.start`."""
        del at_once
        if spec.replicas > 1:
            raise Rejected(f"{_name(spec)}: replicas are not served on the compose target: write `replicas: 1`")
        slot = self._slot(spec)
        well = [s for s in self._described(slot) if s.spec == spec]
        if well:
            return min(well, key=lambda server: USEFULNESS.index(server.role))
        for loading in [server for server in slot.servers if server.spec == spec and server.running]:
            # One that an earlier receiver started, or one that was killed and that the engine still lists.
            with contextlib.suppress(EndedError):
                return self._healthy(loading, stop)
        for leftover in (server for server in self._slot(spec).servers if server.ended or server.spec == spec):
            self._remove(leftover)
        require_image(self._docker, self.place.image)
        image = self._packages.image(spec, stop)
        _let_read(self.place.cache / spec.digest.removeprefix("sha256:"))
        return self._healthy(self._created(spec, image), stop)

    def switch(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.switch`.

        VersionFailed: the server has ended. Rejected: its port is another program's. Traffic is where it was.
        """
        slot = self._slot(server.spec)
        container = self._answering(server, slot)
        if container is None:
            words = log_tail(self._docker, server.id)
            raise VersionFailed(f"{_name(server.spec)} cannot have traffic: it does not answer.\n{words}")
        said = {f.id: discovery.backends_of(self.place, f) for f in slot.fronts if f.running}
        here = next((f for f in slot.fronts if f.port == container.spec.port and said.get(f.id) is not None), None)
        others = [front for front in slot.fronts if front.port != container.spec.port]
        now = said[here.id] if here is not None else None
        if here is None or now is None:
            for front in slot.fronts:
                if front.port == container.spec.port:  # it takes no orders, or ended
                    self._fronts.remove(front)
            elsewhere = [pair for f in others if (pair := said.get(f.id)) is not None]
            self._fronts.open(container.spec, _first(container, elsewhere, slot))
        elif here.made_of == made_of(self.place):
            self._fronts.switch_backends(here, _next(now, container, slot))
        else:
            self._fronts.renew(here, container.spec, _next(now, container, slot))
        for front in others:
            self._fronts.close(front)
        for front in slot.fronts:  # replaced some time ago
            if front.port == container.spec.port and not front.running:
                self._fronts.remove(front)
        self._settle(container, slot)

    def exchange(self, servers: Sequence[Server]) -> None:
        """See :meth:`receiver.ports.Target.exchange`.

        VersionFailed is for one server, so it is not raised here.
        """
        found = discovery.discover(self._docker, self.place.owner)
        moving = {server.spec.slot: self._answering(server, found) for server in servers}
        gone = next((server for server in servers if moving[server.spec.slot] is None), None)
        if gone is not None:
            words = log_tail(self._docker, gone.id)
            raise Rejected(f"{_name(gone.spec)} cannot have traffic: it does not answer.\n{words}")
        containers = [container for container in moving.values() if container is not None]
        exchange_ports(self._fronts, found, containers)
        for container in containers:
            self._settle(container, found.of(container.spec.slot))

    def retire(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.retire`."""
        slot = self._slot(server.spec)
        container = slot.server(server.id)
        if container is None:
            return
        for front in slot.fronts:
            self._leave(front, container)
        self._docker.run("stop", "--time", str(DRAIN_SECONDS), container.id, timeout=DRAIN_SECONDS + 15)
        self._remove(container)
        for leftover in (server for server in slot.servers if server.ended):
            self._remove(leftover)
        self._tidy(container)

    def log_tail(self, server: Server) -> str:
        """See :meth:`receiver.ports.Target.log_tail`."""
        return log_tail(self._docker, server.id)

    def _asked(self, question: Callable[[ServerSpec], str], spec: ServerSpec) -> str:
        """Ask about packages. Whether the image is here and the engine answers, :meth:`start` finds out."""
        with contextlib.suppress(Retryable):
            if self._docker.has_image(self.place.image):
                return question(spec)
        return ""

    def _answering(self, server: Server, found: ContainerDiscovery) -> ServerContainer | None:
        container = found.server(server.id)
        answers = container is not None and container.running and is_healthy(container.url)
        return container if answers else None

    def _settle(self, container: ServerContainer, slot: ContainerDiscovery) -> None:
        """Now it is somebody's server: it comes back by itself after a crash or a restart of the engine.

        Not earlier: one that dies while it gets the traffic must not come back before the watch, which would miss it.
        """
        self._docker.run("update", "--restart", "unless-stopped", container.id)
        self._demote([other for other in slot.servers if other.id != container.id])

    def _described(self, found: ContainerDiscovery) -> list[Server]:
        return discovery.describe(self.place, found, made_of(self.place))

    def _slot(self, spec: ServerSpec) -> ContainerDiscovery:
        return discovery.discover(self._docker, self.place.owner).of(spec.slot)

    def _created(self, spec: ServerSpec, image: str) -> ServerContainer:
        subnet = require_network(self._docker, self.place.owner)
        with self._choosing:  # two slots must not choose one address
            found = discovery.discover(self._docker, self.place.owner)
            address = choose_address(subnet, {*self._chosen, *(server.address for server in found.servers)})
            self._chosen.add(address)
        try:
            name = create_server(self._docker, replace(self.place, image=image), spec, address)
        except RefusedByDockerError as error:
            for leftover in (server for server in self._slot(spec).servers if server.ended):
                self._remove(leftover)
            raise Rejected(f"{_name(spec)} cannot be started: {error}") from error
        finally:
            self._chosen.discard(address)
        container = self._slot(spec).server(name)
        if container is None:
            raise Rejected(f"{_name(spec)}: its container {name} was removed while it was starting")
        return container

    def _healthy(self, container: ServerContainer, stop: Stop) -> Server:
        """Wait until a server has loaded its model and says that it is well.

        VersionFailed: that does not happen. EndedError: because it has ended.
        """
        checked = time.monotonic()

        def check() -> Server | None:
            nonlocal container, checked
            if container.running and is_healthy(container.url):
                well = [s for s in self._described(self._slot(container.spec)) if s.id == container.id]
                if well:
                    return well[0]
            if not container.running or time.monotonic() > checked + CHECK_SECONDS:
                checked = time.monotonic()
                container = self._still_there(container)
            return None

        server = wait_until_healthy(check, self.start_seconds, POLL_SECONDS, stop)
        if server is not None:
            return server
        late = f"was not healthy {self.start_seconds:g} s after its start"
        words = log_tail(self._docker, container.id)
        self._remove(container)
        raise VersionFailed(f"{_name(container.spec)} {late}, and was removed.\n{words}")

    def _still_there(self, container: ServerContainer) -> ServerContainer:
        found = self._slot(container.spec).server(container.id)
        if found is not None and found.running:
            return found
        words = log_tail(self._docker, container.id)
        if found is not None:
            self._remove(found)
        raise EndedError(f"{_name(container.spec)} ended while it was starting.\n{words}")

    def _leave(self, front: FrontContainer, leaving: ServerContainer) -> None:
        """Let a front door do without a server: with the other one, or not at all."""
        backends = discovery.backends_of(self.place, front) if front.running else None
        if backends is None:
            return
        if backends.live == leaving.address:
            self._fronts.close(front)
        elif backends.standby == leaving.address:
            self._fronts.switch_backends(front, backends.with_standby(backends.live))

    def _demote(self, others: Sequence[ServerContainer]) -> None:
        """Who has no traffic stays as it is for as long as it is well, and is not started again."""
        for other in others:
            if other.running and is_healthy(other.url):
                self._docker.run("update", "--restart", "no", other.id)
            else:
                self._remove(other)

    def _remove(self, container: ServerContainer) -> None:
        self._docker.run("rm", "--force", "--volumes", container.id)

    def _tidy(self, last: ServerContainer) -> None:
        """Where nothing runs any more, nothing is left behind."""
        slot = self._slot(last.spec)
        if any(server.running for server in slot.servers):
            return
        for container in [*(s.id for s in slot.servers), *(f.id for f in slot.fronts)]:
            self._docker.run("rm", "--force", "--volumes", container)
        with contextlib.suppress(RefusedByDockerError):  # where no pin asked for a way out there is none
            self._docker.run("network", "rm", egress_network(last.project))
        forget_project(self.place, last.project)


def _first(server: ServerContainer, elsewhere: Sequence[BackendPair], slot: ContainerDiscovery) -> BackendPair:
    """The backends of a new front door: who has the slot's traffic on another port is the standby."""
    standby = next((pair.live for pair in elsewhere if _runs(pair.live, slot)), server.address)
    return BackendPair((server.address, standby), "one")


def _next(now: BackendPair, server: ServerContainer, slot: ContainerDiscovery) -> BackendPair:
    """The backends after a switch: who had the traffic is the standby, if it still runs."""
    backends = now if now.live == server.address else now.switched_to(server.address)
    return backends if _runs(backends.standby, slot) else backends.with_standby(server.address)


def _runs(address: str, slot: ContainerDiscovery) -> bool:
    return any(server.running and server.address == address for server in slot.servers)


def _let_read(artifacts: Path) -> None:
    """Let the containers' own user read a version; the state directory around it stays as private as it is."""
    artifacts.mkdir(parents=True, exist_ok=True)  # a mount needs a directory; what is missing, the server names
    for path in (artifacts, *artifacts.rglob("*")):
        mode = path.stat().st_mode if path.exists() else 0
        wanted = mode | (0o055 if path.is_dir() else 0o044)
        if mode and mode != wanted:
            path.chmod(wanted)


def _name(spec: ServerSpec) -> str:
    return f"{spec.slot} v{spec.version}"
