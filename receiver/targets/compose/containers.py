"""Which containers there are, as the engine says; and what the front doors say about who has the traffic."""

import contextlib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from receiver.adapters.docker import Docker
from receiver.adapters.prober import is_healthy
from receiver.core.state import Role, Server, ServerSpec, Slot
from receiver.targets.compose import labels as names
from receiver.targets.compose.backends import BackendPair, ask_backends

log = logging.getLogger(__name__)

HEALTH_SECONDS = 2.0
ASKING_AT_ONCE = 16
COLUMNS = (
    "{{.Names}}",
    "{{.State}}",
    '{{.Label "com.docker.compose.project"}}',
    '{{.Label "com.docker.compose.service"}}',
    f'{{{{.Label "{names.PART}"}}}}',
    f'{{{{.Label "{names.SPEC}"}}}}',
    "{{.Ports}}",
)
ENDED = frozenset({"created", "exited", "dead"})
MODEL_PORT, STATUS_PORT = 8080, 9998  # in the containers; each is published on some loopback port


@dataclass(frozen=True, slots=True)
class ServerContainer:
    """A model server's container, running or not."""

    id: str  # the container's name
    service: str  # its name on the project's network
    project: str
    spec: ServerSpec
    state: str  # the engine's word: created, running, restarting, exited, ...
    url: str  # empty while it does not run

    @property
    def running(self) -> bool:
        """It can be asked, whether it answers or not."""
        return bool(self.url)

    @property
    def ended(self) -> bool:
        """It will not run again by itself."""
        return self.state in ENDED

    def server(self, role: Role) -> Server:
        """The same in the flow's words."""
        return Server(self.id, self.spec, role, self.url)


@dataclass(frozen=True, slots=True)
class FrontContainer:
    """A front door's container, running or not."""

    id: str
    service: str
    project: str
    slot: Slot
    port: int  # the public one
    running: bool
    status_port: int | None  # where the proxy says what it does


@dataclass(frozen=True, slots=True)
class ContainerDiscovery:
    """All containers of one owner at one moment, oldest first."""

    servers: Sequence[ServerContainer]
    fronts: Sequence[FrontContainer]

    def server(self, container: str) -> ServerContainer | None:
        """One model server's container by its name."""
        return next((s for s in self.servers if s.id == container), None)

    def of(self, slot: Slot) -> "ContainerDiscovery":
        """Only one slot's."""
        return ContainerDiscovery(
            [s for s in self.servers if s.spec.slot == slot],
            [f for f in self.fronts if f.slot == slot],
        )


def discover(docker: Docker, owner: str) -> ContainerDiscovery:
    """Ask the engine. Retryable: it does not answer."""
    listed = docker.run(
        *("ps", "--all", "--no-trunc", "--filter", f"label={names.OWNER}={owner}"), "--format", "\t".join(COLUMNS)
    )
    found = [_read(line) for line in reversed(listed.splitlines())]
    return ContainerDiscovery(
        [c for c in found if isinstance(c, ServerContainer)], [c for c in found if isinstance(c, FrontContainer)]
    )


def describe(discovery: ContainerDiscovery) -> list[Server]:
    """Every server that answers now, with the role that the front doors give it."""
    running = [server for server in discovery.servers if server.running]
    fronts = [front for front in discovery.fronts if front.running]
    with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
        healthy = pool.map(lambda server: is_healthy(server.url, HEALTH_SECONDS), running)
        backends = dict(zip([f.id for f in fronts], pool.map(backends_of, fronts), strict=True))
        return [s.server(_role(s, fronts, backends)) for s, well in zip(running, healthy, strict=True) if well]


def backends_of(front: FrontContainer) -> BackendPair | None:
    """What this front door does with its traffic; None: it does not say."""
    return ask_backends(front.status_port) if front.status_port is not None else None


def _role(
    server: ServerContainer, fronts: Iterable[FrontContainer], backends: Mapping[str, BackendPair | None]
) -> Role:
    seen = [
        (front.port == server.spec.port, said)
        for front in fronts
        if front.project == server.project and (said := backends[front.id]) is not None
    ]
    if any(own and said.live == server.service for own, said in seen):
        return Role.LIVE
    return Role.STANDBY if any(server.service in said.services for _, said in seen) else Role.CANDIDATE


def _read(line: str) -> ServerContainer | FrontContainer | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        name, state, project, service, part, label, ports = line.split("\t")
        running = state == "running"
        if part == names.SERVER:
            port = _published(ports, MODEL_PORT)
            url = f"http://127.0.0.1:{port}" if running and port else ""
            return ServerContainer(name, service, project, names.read_spec(label), state, url)
        if part == names.FRONT:
            slot, public = names.read_front(label)
            return FrontContainer(name, service, project, slot, public, running, _published(ports, STATUS_PORT))
    log.warning("a container that carries Pinrail's label is none of its own: %s", line)
    return None


def _published(ports: str, inside: int) -> int | None:
    """The loopback port behind which a container's port is, out of what ``docker ps`` says about ports."""
    match = re.search(rf"127\.0\.0\.1:(\d+)->{inside}/tcp", ports)
    return int(match[1]) if match else None
