"""Which containers there are, as the engine says; and what the front doors say about who has the traffic."""

import contextlib
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from receiver.adapters.docker import Docker, RefusedByDockerError, time_of
from receiver.adapters.prober import is_healthy
from receiver.core.state import Role, Server, ServerSpec, Slot
from receiver.targets.compose import labels as names
from receiver.targets.compose.backends import MODEL_PORT, Addresses, BackendPair, ask_backends
from receiver.targets.compose.project import Place

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
    f'{{{{.Label "{names.ADDRESS}"}}}}',
    f'{{{{.Label "{names.MADE_OF}"}}}}',
    f'{{{{.Label "{names.GROUP}"}}}}',
    f'{{{{.Label "{names.REPLICA}"}}}}',
)
FRONT_DIFFERS = "its front door has another image, address, configuration or limits than it should"
FRONT_TOO_MANY = "it has a front door on another port too"
ENDED = frozenset({"created", "exited", "dead"})


@dataclass(frozen=True, slots=True)
class ServerContainer:
    """A container of a model server, running or not: its only one, or one of its replicas."""

    id: str  # the container's name
    service: str
    project: str
    spec: ServerSpec
    state: str  # the engine's word: created, running, restarting, exited, ...
    address: str  # on the models' network; empty: an earlier Pinrail's, which is on another network
    group: str  # the server that it is a replica of
    replica: int = 1

    @property
    def running(self) -> bool:
        """It can be asked, whether it answers or not."""
        return self.state == "running" and bool(self.address)

    @property
    def url(self) -> str:
        """Where the receiver reaches it while it runs; empty: nowhere."""
        return f"http://{self.address}:{MODEL_PORT}" if self.address else ""

    @property
    def ended(self) -> bool:
        """It will not run again by itself."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class ContainerGroup:
    """A model server: some of its replicas, by their number."""

    id: str
    containers: Sequence[ServerContainer]

    @property
    def spec(self) -> ServerSpec:
        """What all of them were started with."""
        return self.containers[0].spec

    @property
    def project(self) -> str:
        """The compose project that all of them are in."""
        return self.containers[0].project

    @property
    def addresses(self) -> Addresses:
        """Where a front door reaches them."""
        return tuple(container.address for container in self.containers)

    def server(self, role: Role, differs: str = "") -> Server:
        """The same in the flow's words."""
        return Server(self.id, self.spec, role, tuple(container.url for container in self.containers), differs)


def running_seconds(docker: Docker, container: ServerContainer) -> float:
    """For how long a container has run since it was last started; 0 where it is gone."""
    with contextlib.suppress(RefusedByDockerError):
        started = docker.run("container", "inspect", "--format", "{{.State.StartedAt}}", container.id)
        return time.time() - time_of(started.strip())
    return 0.0


def grouped(containers: Iterable[ServerContainer]) -> list[ContainerGroup]:
    """The servers that containers are replicas of, in the order of the first of each."""
    found: dict[str, list[ServerContainer]] = {}
    for container in containers:
        found.setdefault(container.group, []).append(container)
    return [ContainerGroup(name, sorted(members, key=lambda c: c.replica)) for name, members in found.items()]


@dataclass(frozen=True, slots=True)
class FrontContainer:
    """A front door's container, running or not."""

    id: str
    service: str
    project: str
    slot: Slot
    port: int  # the public one
    running: bool
    made_of: str  # see :func:`receiver.targets.compose.front.made_of`


@dataclass(frozen=True, slots=True)
class ContainerDiscovery:
    """All containers of one owner at one moment, oldest first."""

    servers: Sequence[ServerContainer]
    fronts: Sequence[FrontContainer]

    def server(self, container: str) -> ServerContainer | None:
        """One model server's container by its name."""
        return next((s for s in self.servers if s.id == container), None)

    def replicas(self, group: str) -> Sequence[ServerContainer]:
        """All containers of one model server."""
        return [server for server in self.servers if server.group == group]

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


def describe(place: Place, discovery: ContainerDiscovery, made_of: str) -> list[Server]:
    """Every server that answers now, with the role that the front doors give it.

    ``made_of``: what a front door should be made of.
    """
    running = [server for server in discovery.servers if server.running]
    fronts = [front for front in discovery.fronts if front.running]
    with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
        healthy = pool.map(lambda server: is_healthy(server.url, HEALTH_SECONDS), running)
        backends = dict(zip([f.id for f in fronts], pool.map(partial(backends_of, place), fronts), strict=True))
        said = [(front, pair) for front in fronts if (pair := backends[front.id]) is not None]
        well = [server for server, answers in zip(running, healthy, strict=True) if answers]
        return [_described(group, said, made_of) for group in grouped(well)]


def backends_of(place: Place, front: FrontContainer) -> BackendPair | None:
    """What this front door does with its traffic; None: it does not say, or was replaced and is going."""
    return ask_backends(place.runtime_socket(front.project, front.port, front.service))


def _described(group: ContainerGroup, said: Iterable[tuple[FrontContainer, BackendPair]], made_of: str) -> Server:
    ours = [(front, pair) for front, pair in said if front.project == group.project]
    own = set(group.addresses)
    for front, pair in ours:
        if front.port == group.spec.port and own & set(pair.live):
            left_over = any(other.port != front.port for other, _ in ours)  # where an exchange of ports was cut short
            without = len(own - set(pair.live))  # replicas that were started since
            differs = FRONT_DIFFERS if front.made_of != made_of else ""
            differs = f"{len(own) - without} of {len(own)} replicas have traffic" if without else differs
            return group.server(Role.LIVE, FRONT_TOO_MANY if left_over else differs)
    stands_by = any(own & {*pair.live, *pair.standby} for _, pair in ours)
    return group.server(Role.STANDBY if stands_by else Role.CANDIDATE)


def _read(line: str) -> ServerContainer | FrontContainer | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        name, state, project, service, part, label, address, made_of, group, replica = line.split("\t")
        if part == names.SERVER:
            spec = names.read_spec(label)
            return ServerContainer(name, service, project, spec, state, address, group or name, int(replica or 1))
        if part == names.FRONT:
            slot, public = names.read_front(label)
            return FrontContainer(name, service, project, slot, public, state == "running", made_of)
    log.warning("a container that carries Pinrail's label is none of its own: %s", line)
    return None
