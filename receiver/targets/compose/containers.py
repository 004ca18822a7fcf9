"""Which containers there are, as the engine says; and what the front doors say about who has the traffic."""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from receiver.adapters.docker import Docker
from receiver.adapters.prober import is_healthy
from receiver.core.state import Role, Server, ServerSpec, Slot
from receiver.targets.compose import labels as names
from receiver.targets.compose.backends import MODEL_PORT, BackendPair, ask_backends
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
)
FRONT_DIFFERS = "its front door has another image, address, configuration or limits than it should"
FRONT_TOO_MANY = "it has a front door on another port too"
ENDED = frozenset({"created", "exited", "dead"})


@dataclass(frozen=True, slots=True)
class ServerContainer:
    """A model server's container, running or not."""

    id: str  # the container's name
    service: str
    project: str
    spec: ServerSpec
    state: str  # the engine's word: created, running, restarting, exited, ...
    address: str  # on the models' network; empty: an earlier Pinrail's, which is on another network

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

    def server(self, role: Role, differs: str = "") -> Server:
        """The same in the flow's words."""
        return Server(self.id, self.spec, role, (self.url,), differs)


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
        return [_described(s, said, made_of) for s, well in zip(running, healthy, strict=True) if well]


def backends_of(place: Place, front: FrontContainer) -> BackendPair | None:
    """What this front door does with its traffic; None: it does not say, or was replaced and is going."""
    return ask_backends(place.runtime_socket(front.project, front.port, front.service))


def _described(server: ServerContainer, said: Iterable[tuple[FrontContainer, BackendPair]], made_of: str) -> Server:
    ours = [(front, pair) for front, pair in said if front.project == server.project]
    for front, pair in ours:
        if front.port == server.spec.port and pair.live == server.address:
            differs = "" if front.made_of == made_of else FRONT_DIFFERS
            left_over = any(other.port != front.port for other, _ in ours)  # where an exchange of ports was cut short
            return server.server(Role.LIVE, FRONT_TOO_MANY if left_over else differs)
    stands_by = any(server.address in pair.addresses for _, pair in ours)
    return server.server(Role.STANDBY if stands_by else Role.CANDIDATE)


def _read(line: str) -> ServerContainer | FrontContainer | None:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        name, state, project, service, part, label, address, made_of = line.split("\t")
        if part == names.SERVER:
            return ServerContainer(name, service, project, names.read_spec(label), state, address)
        if part == names.FRONT:
            slot, public = names.read_front(label)
            return FrontContainer(name, service, project, slot, public, state == "running", made_of)
    log.warning("a container that carries Pinrail's label is none of its own: %s", line)
    return None
