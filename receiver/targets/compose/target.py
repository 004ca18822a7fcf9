"""Model servers as containers: the target for real stacks. Each slot is a compose project of its own.

A front door (HAProxy) holds the slot's public port; model servers come and go behind it. What runs is asked of the
engine, who has the traffic of the front doors; nothing about them is remembered here, so the next receiver finds all,
and several threads may act on different slots at once.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.adapters.prober import is_healthy
from receiver.core.errors import Rejected, Retryable, VersionFailed
from receiver.core.state import USEFULNESS, Server, ServerSpec, Slot
from receiver.ports import Stop, never
from receiver.targets.compose import containers as discovery
from receiver.targets.compose.backends import Addresses, BackendPair
from receiver.targets.compose.containers import (
    ContainerDiscovery,
    ContainerGroup,
    FrontContainer,
    ServerContainer,
    grouped,
)
from receiver.targets.compose.exchange import exchange_ports
from receiver.targets.compose.front import made_of
from receiver.targets.compose.image import require_image
from receiver.targets.compose.log_tail import log_tail
from receiver.targets.compose.network import choose_address, require_network
from receiver.targets.compose.packages import ImagePackages
from receiver.targets.compose.project import (
    NewReplica,
    Place,
    create_replicas,
    egress_network,
    forget_project,
    new_group,
)
from receiver.targets.compose.proxy import FrontDoors
from receiver.targets.readiness import wait_until_healthy

log = logging.getLogger(__name__)

START_SECONDS = 60.0
DRAIN_SECONDS = 35  # a model server takes up to 30 for its last answers
POLL_SECONDS = 0.03
HANG_SECONDS = 10.0  # how long one that has started long ago, and may be busy, has to answer
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

    def refusal(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.refusal`."""
        del spec
        return ""

    def unverified_packages(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.unverified_packages`."""
        return self._asked(self._packages.unverified, spec)

    def missing_packages(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.missing_packages`."""
        return self._asked(self._packages.missing, spec)

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Target.install`."""
        require_image(self._docker, self.place.image)
        self._packages.image(spec, stop)

    def start(self, spec: ServerSpec, stop: Stop = never, at_once: int = 1) -> Server:
        """See :meth:`receiver.ports.Target.start`."""
        slot = self._slot(spec)
        found = [server for server in self._described(slot) if server.spec == spec]
        best = min(found, key=lambda server: USEFULNESS.index(server.role), default=None)
        if best is not None and not best.missing:
            return best
        same = [container for container in slot.servers if container.spec == spec and container.running]
        group = best.id if best is not None else same[0].group if same else ""
        well = []
        for loading in [container for container in same if container.group == group]:
            # One that an earlier receiver started, or one that was killed and that the engine still lists.
            with contextlib.suppress(EndedError):
                hangs = discovery.running_seconds(self._docker, loading) > self.start_seconds
                well.append(self._healthy(loading, stop, hangs=hangs))
        for leftover in self._slot(spec).servers:
            if leftover.ended or (leftover.spec == spec and leftover.id not in [container.id for container in well]):
                self._remove(leftover)
        if not well:
            group = new_group(self.place, spec)
        if len(well) < spec.replicas:
            require_image(self._docker, self.place.image)
            image = self._packages.image(spec, stop)
            _let_read(self.place.cache / spec.digest.removeprefix("sha256:"))
            taken = [container.replica for container in well]
            free = [number for number in range(1, spec.replicas + len(taken) + 1) if number not in taken]
            replicas = [(group, number) for number in free[: spec.replicas - len(well)]]
            self._start_replicas(spec, image, replicas, (stop, at_once))
        return self._whole(spec, group, stop)

    def switch(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.switch`.

        VersionFailed: the server has ended. Rejected: its port is another program's. Traffic is where it was.
        """
        slot = self._slot(server.spec)
        group = self._answering(server, slot)
        if group is None:
            words = self.log_tail(server)
            raise VersionFailed(f"{_name(server.spec)} cannot have traffic: it does not answer.\n{words}")
        said = {f.id: discovery.backends_of(self.place, f) for f in slot.fronts if f.running}
        here = next((f for f in slot.fronts if f.port == group.spec.port and said.get(f.id) is not None), None)
        others = [front for front in slot.fronts if front.port != group.spec.port]
        now = said[here.id] if here is not None else None
        if here is None or now is None:
            for front in slot.fronts:
                if front.port == group.spec.port:  # it takes no orders, or ended
                    self._fronts.remove(front)
            elsewhere = [pair for f in others if (pair := said.get(f.id)) is not None]
            self._fronts.open(group.spec, _first(group, elsewhere, slot))
        elif here.made_of == made_of(self.place):
            self._fronts.switch_backends(here, _next(now, group, slot))
        else:
            self._fronts.renew(here, group.spec, _next(now, group, slot))
        for front in others:
            self._fronts.close(front)
        for front in slot.fronts:  # replaced some time ago
            if front.port == group.spec.port and not front.running:
                self._fronts.remove(front)
        self._settle(group, slot)

    def exchange(self, servers: Sequence[Server]) -> None:
        """See :meth:`receiver.ports.Target.exchange`.

        VersionFailed is for one server, so it is not raised here.
        """
        found = discovery.discover(self._docker, self.place.owner)
        moving: list[ContainerGroup] = []
        for server in servers:
            group = self._answering(server, found)
            if group is None:
                words = self.log_tail(server)
                raise Rejected(f"{_name(server.spec)} cannot have traffic: it does not answer.\n{words}")
            moving.append(group)
        exchange_ports(self._fronts, found, moving)
        for group in moving:
            self._settle(group, found.of(group.spec.slot))

    def retire(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.retire`."""
        slot = self._slot(server.spec)
        containers = slot.replicas(server.id)
        if not containers:
            return
        for front in slot.fronts:
            self._leave(front, {container.address for container in containers})
        names = [container.id for container in containers]
        self._docker.run("stop", "--time", str(DRAIN_SECONDS), *names, timeout=DRAIN_SECONDS + 15)
        for leftover in (*containers, *(other for other in slot.servers if other.ended and other not in containers)):
            self._remove(leftover)
        self._tidy(containers[0])

    def log_tail(self, server: Server) -> str:
        """See :meth:`receiver.ports.Target.log_tail`. Of several replicas, those that do not run are described."""
        try:
            containers = self._slot(server.spec).replicas(server.id)
        except Retryable:
            containers = ()
        ended = [container.id for container in containers if not container.running]
        described = ended or [container.id for container in containers] or [server.id]
        return "\n".join(log_tail(self._docker, container) for container in described)

    def _asked(self, question: Callable[[ServerSpec], str], spec: ServerSpec) -> str:
        """Ask about packages. Whether the image is here and the engine answers, :meth:`start` finds out."""
        with contextlib.suppress(Retryable):
            if self._docker.has_image(self.place.image):
                return question(spec)
        return ""

    def how_ended(self, slot: Slot) -> str:
        """See :meth:`receiver.ports.Target.how_ended`. The engine may have started a container again meanwhile."""
        with contextlib.suppress(Retryable):
            found = discovery.discover(self._docker, self.place.owner).of(slot)
            silent = [c.id for c in found.servers if not c.running or not is_healthy(c.url)]
            said = (log_tail(self._docker, name).partition("; its log ends")[0] for name in silent)
            return "\n".join(line for line in said if not line.endswith(" runs"))
        return ""

    def _answering(self, server: Server, found: ContainerDiscovery) -> ContainerGroup | None:
        """The replicas of a server; None: one of them does not answer."""
        well = [c for c in found.replicas(server.id) if c.running and is_healthy(c.url)]
        return grouped(well)[0] if len(well) >= server.spec.replicas else None

    def _settle(self, group: ContainerGroup, slot: ContainerDiscovery) -> None:
        """Now it is somebody's server: it comes back by itself after a crash or a restart of the engine.

        Not earlier: one that dies while it gets the traffic must not come back before the watch, which would miss it.
        """
        self._docker.run("update", "--restart", "unless-stopped", *(container.id for container in group.containers))
        self._demote([other for other in slot.servers if other.group != group.id])

    def _described(self, found: ContainerDiscovery) -> list[Server]:
        return discovery.describe(self.place, found, made_of(self.place))

    def _slot(self, spec: ServerSpec) -> ContainerDiscovery:
        return discovery.discover(self._docker, self.place.owner).of(spec.slot)

    def _whole(self, spec: ServerSpec, group: str, stop: Stop) -> Server:
        """The server of which all replicas were well a moment ago; one that is busy for a moment has its time."""

        def check() -> Server | None:
            found = (server for server in self._described(self._slot(spec)) if server.id == group)
            return next((server for server in found if not server.missing), None)

        server = wait_until_healthy(check, self.start_seconds, POLL_SECONDS, stop)
        if server is None:
            raise VersionFailed(f"{_name(spec)} was healthy at its start, and does not answer any more.")
        return server

    def _start_replicas(
        self, spec: ServerSpec, image: str, wanted: Sequence[tuple[str, int]], pace: tuple[Stop, int]
    ) -> None:
        """Start these replicas, a few at once, and wait for them; where one fails, none of these is left."""
        stop, at_once = pace
        begun: list[ServerContainer] = []
        try:
            for place in range(0, len(wanted), at_once):
                created = self._created(spec, image, wanted[place : place + at_once])
                begun += created
                for container in created:
                    self._healthy(container, stop)
        except VersionFailed:
            for container in begun:
                self._remove(container)
            raise

    def _created(self, spec: ServerSpec, image: str, wanted: Sequence[tuple[str, int]]) -> list[ServerContainer]:
        subnet = require_network(self._docker, self.place.owner)
        with self._choosing:  # two slots must not choose one address
            found = discovery.discover(self._docker, self.place.owner)
            taken = {*self._chosen, *(server.address for server in found.servers)}
            replicas: list[NewReplica] = []
            for group, number in wanted:
                address = choose_address(subnet, {*taken, *(replica.address for replica in replicas)})
                replicas.append(NewReplica(group, number, address))
            self._chosen |= {replica.address for replica in replicas}
        try:
            names = create_replicas(self._docker, replace(self.place, image=image), spec, replicas)
        except RefusedByDockerError as error:
            for leftover in (server for server in self._slot(spec).servers if server.ended):
                self._remove(leftover)
            raise Rejected(f"{_name(spec)} cannot be started: {error}") from error
        finally:
            self._chosen -= {replica.address for replica in replicas}
        created = [container for container in self._slot(spec).servers if container.id in names]
        if len(created) < len(names):
            raise Rejected(f"{_name(spec)}: one of {', '.join(names)} was removed while it was starting")
        return created

    def _healthy(self, container: ServerContainer, stop: Stop, *, hangs: bool = False) -> ServerContainer:
        """Wait until a container has loaded its model and says that it is well.

        ``hangs``: it is not loading any more, so it has less time.
        VersionFailed: that does not happen. EndedError: because it has ended, or hangs.
        """
        checked = time.monotonic()

        def check() -> ServerContainer | None:
            nonlocal container, checked
            if container.running and is_healthy(container.url):
                return container
            if not container.running or time.monotonic() > checked + CHECK_SECONDS:
                checked = time.monotonic()
                container = self._still_there(container)
            return None

        well = wait_until_healthy(check, HANG_SECONDS if hangs else self.start_seconds, POLL_SECONDS, stop)
        if well is not None:
            return well
        if hangs:
            log.warning("removing %s: it does not answer", container.id)
            self._remove(container)
            raise EndedError(f"{_name(container.spec)} does not answer any more")
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

    def _leave(self, front: FrontContainer, leaving: Collection[str]) -> None:
        """Let a front door do without a server: with the other one, or not at all."""
        backends = discovery.backends_of(self.place, front) if front.running else None
        if backends is None:
            return
        if not {*backends.live} - {*leaving}:
            self._fronts.close(front)
        elif {*backends.standby} & {*leaving}:
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


def _first(group: ContainerGroup, elsewhere: Sequence[BackendPair], slot: ContainerDiscovery) -> BackendPair:
    """The backends of a new front door: who has the slot's traffic on another port is the standby."""
    standby = next((running for pair in elsewhere if (running := _running(pair.live, slot))), group.addresses)
    return BackendPair((group.addresses, standby), "one")


def _next(now: BackendPair, group: ContainerGroup, slot: ContainerDiscovery) -> BackendPair:
    """The backends after a switch: who had the traffic is the standby, as far as it still runs."""
    backends = now.switched_to(group.addresses)
    return backends.with_standby(_running(backends.standby, slot) or group.addresses)


def _running(addresses: Addresses, slot: ContainerDiscovery) -> Addresses:
    running = {server.address for server in slot.servers if server.running}
    return tuple(address for address in addresses if address in running)


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
