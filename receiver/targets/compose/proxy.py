"""The front doors: one proxy per slot and public port, set over its runtime API and in files for its next start.

A proxy's runtime API listens on its own loopback only, so orders go in through the engine; what it does can be asked
through a published port, where nothing can be changed.
"""

import time
from dataclasses import dataclass

from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.core.errors import Rejected
from receiver.core.state import ServerSpec
from receiver.targets.compose import containers as discovery
from receiver.targets.compose.backends import BackendPair, orders, read_backends, write_backends
from receiver.targets.compose.containers import FrontContainer, ServerContainer
from receiver.targets.compose.labels import project_name
from receiver.targets.compose.log_tail import log_tail
from receiver.targets.compose.project import Place, create_front, network

OPEN_SECONDS = 15.0
CLOSE_SECONDS = 5  # for answers that are on their way
POLL_SECONDS = 0.02
# The official image has bash, and nothing else that speaks TCP.
RUNTIME_API = "exec 3<>/dev/tcp/127.0.0.1/9999; cat >&3; cat <&3"
PORT_TAKEN = ("port is already allocated", "address already in use")


@dataclass(frozen=True, slots=True)
class FrontDoors:
    """Opens, tells and closes front doors."""

    docker: Docker
    place: Place

    def switch_backends(
        self, front: FrontContainer, backends: BackendPair, slot: discovery.ContainerDiscovery
    ) -> None:
        """Let a running front door use these berths from now on. No connection is closed.

        Rejected: it did not do it; who had the traffic has it still.
        """
        write_backends(self.place.front(front.project, front.port), backends)
        addresses = self._addresses([s for s in slot.servers if s.service in backends.services])
        line = orders(backends, addresses).encode()
        said = self.docker.run("exec", "--interactive", front.id, "bash", "-c", RUNTIME_API, stdin=line)
        now = read_backends(said)
        if now is None or (now.live, now.standby, now.at) != (backends.live, backends.standby, backends.at):
            raise Rejected(f"the front door {front.id} was sent {line.decode()!r} and answered {said!r}")

    def open(self, spec: ServerSpec, backends: BackendPair, old: FrontContainer | None) -> None:
        """Have a front door on a public port that nobody holds. Rejected: the port cannot be had."""
        if old is not None:
            self.docker.run("rm", "--force", "--volumes", old.id)
        try:
            container = create_front(self.docker, self.place, spec, backends)
        except RefusedByDockerError as error:
            self._remove_unstarted(spec)
            raise Rejected(self._explained(spec, str(error))) from error
        deadline = time.monotonic() + OPEN_SECONDS
        while time.monotonic() < deadline:
            found = next(
                (f for f in discovery.discover(self.docker, self.place.owner).fronts if f.id == container), None
            )
            if found is not None and found.running and discovery.backends_of(found) is not None:
                return
            time.sleep(POLL_SECONDS)
        words = log_tail(self.docker, container)
        self.docker.run("rm", "--force", "--volumes", container)
        raise Rejected(f"{spec.slot}: the front door did not open within {OPEN_SECONDS:g} s.\n{words}")

    def close(self, front: FrontContainer) -> None:
        """Free a public port; answers that are on their way are waited for."""
        if front.running:
            self.docker.run("stop", "--time", str(CLOSE_SECONDS), front.id)
        self.docker.run("rm", "--force", "--volumes", front.id)

    def _addresses(self, servers: list[ServerContainer]) -> dict[str, str]:
        """Where on the project's network each of these servers is, by service. Rejected: one has ended."""
        form = f'at {{{{(index .NetworkSettings.Networks "{network(servers[0].project)}").IPAddress}}}}'
        listed = self.docker.run("inspect", "--type", "container", "--format", form, *(s.id for s in servers))
        found = {}
        for server, line in zip(servers, listed.splitlines(), strict=True):
            found[server.service] = line.removeprefix("at").strip()
            if not found[server.service]:
                raise Rejected(f"{server.service} cannot have traffic: it ended.\n{log_tail(self.docker, server.id)}")
        return found

    def _remove_unstarted(self, spec: ServerSpec) -> None:
        for front in discovery.discover(self.docker, self.place.owner).of(spec.slot).fronts:
            if front.port == spec.port and not front.running:
                self.docker.run("rm", "--force", "--volumes", front.id)

    def _explained(self, spec: ServerSpec, said: str) -> str:
        place = f"port {spec.port} on {self.place.host}"
        change = f"choose another models.{spec.slot.model}.port in environments/{spec.slot.environment}.yaml"
        if any(words in said for words in PORT_TAKEN):
            return f"{spec.slot}: {place} is taken by another program or container: stop that, or {change}."
        project = project_name(self.place.owner, spec.slot)
        return f"{spec.slot}: the front door of {project} cannot be opened on {place}: {said}"
