"""Model servers as containers: the target for real stacks. Each slot is a compose project of its own.

A front door (HAProxy) holds the slot's public port; model servers come and go behind it. What runs is asked of the
engine, who has the traffic of the front doors; nothing about them is remembered here, so the next receiver finds all.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.adapters.prober import is_healthy
from receiver.core.errors import Rejected
from receiver.core.state import USEFULNESS, Server, ServerSpec
from receiver.targets.compose import containers as discovery
from receiver.targets.compose.backends import BackendPair
from receiver.targets.compose.containers import ContainerDiscovery, FrontContainer, ServerContainer
from receiver.targets.compose.image import require_image, require_packages
from receiver.targets.compose.log_tail import log_tail
from receiver.targets.compose.project import Place, create_server, forget_project, network
from receiver.targets.compose.proxy import FrontDoors
from receiver.targets.readiness import wait_until_healthy

START_SECONDS = 60.0
DRAIN_SECONDS = 35  # a model server takes up to 30 for its last answers
POLL_SECONDS = 0.03
CHECK_SECONDS = 0.3  # how often to ask the engine whether a starting container still runs


class ComposeTarget:
    """Implements :class:`receiver.ports.Target`."""

    def __init__(self, docker: Docker, place: Place, start_seconds: float = START_SECONDS) -> None:
        self.place = place
        self.start_seconds = start_seconds
        self._docker = docker
        self._fronts = FrontDoors(docker, place)

    def observe(self) -> Sequence[Server]:
        """See :meth:`receiver.ports.Target.observe`. A server that hangs does not answer, so it is not listed."""
        return discovery.describe(discovery.discover(self._docker, self.place.owner))

    def start(self, spec: ServerSpec) -> Server:
        """See :meth:`receiver.ports.Target.start`."""
        slot = self._slot(spec)
        same = [server for server in slot.servers if server.spec == spec and server.running]
        well = [s for s in discovery.describe(ContainerDiscovery(slot.servers, slot.fronts)) if s.spec == spec]
        if well:
            return min(well, key=lambda server: USEFULNESS.index(server.role))
        if same:
            return self._healthy(same[-1])
        for leftover in (server for server in slot.servers if server.ended or server.spec == spec):
            self._remove(leftover)
        require_image(self._docker, self.place.image)
        require_packages(self._docker, self.place, spec)
        _let_read(self.place.cache, self.place.cache / spec.digest.removeprefix("sha256:"))
        return self._healthy(self._created(spec))

    def switch(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.switch`.

        Rejected: the server has ended, or its port is another program's; who had the traffic still has it.
        """
        slot = self._slot(server.spec)
        container = slot.server(server.id)
        if container is None or not container.running or not is_healthy(container.url):
            words = log_tail(self._docker, server.id)
            raise Rejected(f"{_name(server.spec)} cannot have traffic: it does not answer.\n{words}")
        # From now on it is somebody's server: it comes back by itself after a crash or a restart of the engine.
        self._docker.run("update", "--restart", "unless-stopped", container.id)
        here = next((front for front in slot.fronts if front.port == container.spec.port), None)
        others = [front for front in slot.fronts if front is not here]
        now = discovery.backends_of(here) if here is not None and here.running else None
        if here is None or now is None:
            self._fronts.open(container.spec, _first(container, others, slot), here)
        else:
            self._fronts.switch_backends(here, _next(now, container, slot), slot)
        for front in others:
            self._fronts.close(front)
        self._demote([other for other in slot.servers if other.id != container.id])

    def retire(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.retire`."""
        slot = self._slot(server.spec)
        container = slot.server(server.id)
        if container is None:
            return
        for front in slot.fronts:
            self._leave(front, container, slot)
        self._docker.run("stop", "--time", str(DRAIN_SECONDS), container.id, timeout=DRAIN_SECONDS + 15)
        self._remove(container)
        for leftover in (server for server in slot.servers if server.ended):
            self._remove(leftover)
        self._tidy(container)

    def log_tail(self, server: Server) -> str:
        """See :meth:`receiver.ports.Target.log_tail`."""
        return log_tail(self._docker, server.id)

    def _slot(self, spec: ServerSpec) -> ContainerDiscovery:
        return discovery.discover(self._docker, self.place.owner).of(spec.slot)

    def _created(self, spec: ServerSpec) -> ServerContainer:
        self.place.cache.mkdir(parents=True, exist_ok=True)
        try:
            name = create_server(self._docker, self.place, spec)
        except RefusedByDockerError as error:
            for leftover in (server for server in self._slot(spec).servers if server.ended):
                self._remove(leftover)
            raise Rejected(f"{_name(spec)} cannot be started: {error}") from error
        container = self._slot(spec).server(name)
        if container is None:
            raise Rejected(f"{_name(spec)}: its container {name} was removed while it was starting")
        return container

    def _healthy(self, container: ServerContainer) -> Server:
        """Wait until a server has loaded its model and says that it is well. Rejected: it does not come to that."""
        checked = time.monotonic()

        def check() -> Server | None:
            nonlocal container, checked
            if container.running and is_healthy(container.url):
                well = [s for s in discovery.describe(self._slot(container.spec)) if s.id == container.id]
                if well:
                    return well[0]
            if not container.running or time.monotonic() > checked + CHECK_SECONDS:
                checked = time.monotonic()
                container = self._still_there(container)
            return None

        server = wait_until_healthy(check, self.start_seconds, POLL_SECONDS)
        if server is not None:
            return server
        late = f"was not healthy {self.start_seconds:g} s after its start"
        words = log_tail(self._docker, container.id)
        self._remove(container)
        raise Rejected(f"{_name(container.spec)} {late}, and was removed.\n{words}")

    def _still_there(self, container: ServerContainer) -> ServerContainer:
        found = self._slot(container.spec).server(container.id)
        if found is not None and found.running:
            return found
        words = log_tail(self._docker, container.id)
        if found is not None:
            self._remove(found)
        raise Rejected(f"{_name(container.spec)} ended while it was starting.\n{words}")

    def _leave(self, front: FrontContainer, leaving: ServerContainer, slot: ContainerDiscovery) -> None:
        """Let a front door do without a server: with the other one, or not at all."""
        backends = discovery.backends_of(front) if front.running else None
        if backends is None:
            return
        if backends.live == leaving.service:
            self._fronts.close(front)
        elif backends.standby == leaving.service:
            self._fronts.switch_backends(front, backends.with_standby(backends.live), slot)

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
        self._docker.run("network", "rm", network(last.project))
        forget_project(self.place, last.project)


def _first(server: ServerContainer, others: Sequence[FrontContainer], slot: ContainerDiscovery) -> BackendPair:
    """Berths of a new front door: who has the slot's traffic on another port steps in."""
    said = [backends for front in others if front.running and (backends := discovery.backends_of(front))]
    standby = next((backends.live for backends in said if _runs(backends.live, slot)), server.service)
    return BackendPair((server.service, standby), "one")


def _next(now: BackendPair, server: ServerContainer, slot: ContainerDiscovery) -> BackendPair:
    """Berths after a switch: who had the traffic steps in, if it still runs."""
    backends = now if now.live == server.service else now.switched_to(server.service)
    return backends if _runs(backends.standby, slot) else backends.with_standby(server.service)


def _runs(service: str, slot: ContainerDiscovery) -> bool:
    return any(server.running and server.service == service for server in slot.servers)


def _let_read(*directories: Path) -> None:
    """Let the containers' own user read the artifacts; the state directory around them stays as private as it is."""
    for top in directories:
        below = top.rglob("*") if top.name != "cache" else ()
        for path in (top, *below):
            mode = path.stat().st_mode if path.exists() else 0
            wanted = mode | (0o055 if path.is_dir() else 0o044)
            if mode and mode != wanted:
                path.chmod(wanted)


def _name(spec: ServerSpec) -> str:
    return f"{spec.slot} v{spec.version}"
