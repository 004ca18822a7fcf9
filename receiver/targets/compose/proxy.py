"""The front doors: one proxy per slot and port, ordered over its runtime API and written down for its next start.

A proxy's runtime API is a Unix socket in a directory of the receiver's own: nobody else gives orders, and the engine
is not needed for them.
"""

import contextlib
import errno
import os
import time
from dataclasses import dataclass

from receiver.adapters.addresses import listen_on_trial
from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.core.errors import Rejected
from receiver.core.state import ServerSpec
from receiver.targets.compose import containers as discovery
from receiver.targets.compose.backends import (
    BackendPair,
    ask_backends,
    ask_proxy,
    is_of_an_earlier_pinrail,
    orders,
    read_backends,
    write_backends,
)
from receiver.targets.compose.containers import FrontContainer
from receiver.targets.compose.front import wanted_make
from receiver.targets.compose.labels import project_name
from receiver.targets.compose.log_tail import log_tail
from receiver.targets.compose.project import FrontMake, Place, create_front

OPEN_SECONDS = 15.0
CLOSE_SECONDS = 5  # for answers that are on their way
LEAVE_SECONDS = 3.0  # how long to watch a replaced front door go; idle clients may keep it for longer
POLL_SECONDS = 0.02
CHECK_SECONDS = 0.3  # how often to ask the engine whether an opening front door still runs
PORT_TAKEN = ("address already in use",)


@dataclass(frozen=True, slots=True)
class FrontDoors:
    """Opens, orders, renews and closes front doors."""

    docker: Docker
    place: Place

    def switch_backends(self, front: FrontContainer, backends: BackendPair) -> None:
        """Let a running front door use these backends from now on. No connection is closed.

        Rejected: it did not do it; who had the traffic has it still.
        """
        write_backends(self.place.front(front.project, front.port), backends)
        line = orders(backends)
        try:
            said = ask_proxy(self.place.runtime_socket(front.project, front.port, front.service), line)
        except OSError as error:
            raise Rejected(f"the front door {front.id} does not take orders: {error}") from error
        if read_backends(said) != backends:
            raise Rejected(f"the front door {front.id} was sent {line!r} and answered {said!r}")

    def open(self, spec: ServerSpec, backends: BackendPair) -> None:
        """Have a front door on a public port that nobody holds. Rejected: the port cannot be had."""
        self._require_free(spec)
        self._created(spec, backends, wanted_make(self.docker, self.place))

    def open_beside(self, spec: ServerSpec, backends: BackendPair) -> None:
        """Have one more front door on a port that another slot's holds. Rejected: it does not open."""
        self._created(spec, backends, wanted_make(self.docker, self.place))

    def renew(self, front: FrontContainer, spec: ServerSpec, backends: BackendPair) -> None:
        """Replace a front door by one that is made as it should be. No request is dropped.

        The new one takes the listening socket over; the old one answers what it has accepted, then ends.
        Rejected: there is no new one; the old one goes on.
        """
        if not is_of_an_earlier_pinrail(self.place.runtime_socket(front.project, front.port, front.service)):
            self.switch_backends(front, backends)  # both accept for a moment: they must agree
        make = wanted_make(self.docker, self.place, front.service)
        old = self.place.runtime_socket(front.project, front.port, front.service)
        taken = old.with_name("taken.sock")
        try:
            self._created(spec, backends, make)
        except Rejected:
            with contextlib.suppress(FileNotFoundError):
                taken.rename(old)
            raise
        self.docker.run("update", "--restart", "no", front.id)
        self.docker.run("kill", "--signal", "USR1", front.id)
        deadline = time.monotonic() + LEAVE_SECONDS
        while time.monotonic() < deadline:
            if self._state(front.id) in discovery.ENDED:
                self.docker.run("rm", "--force", "--volumes", front.id)
                break
            time.sleep(CHECK_SECONDS)
        taken.unlink(missing_ok=True)

    def close(self, front: FrontContainer) -> None:
        """Free a public port; answers that are on their way are waited for."""
        if front.running:
            self.docker.run("stop", "--time", str(CLOSE_SECONDS), front.id)
        self.remove(front)

    def remove(self, front: FrontContainer) -> None:
        """End a front door at once."""
        self.docker.run("rm", "--force", "--volumes", front.id)

    def _created(self, spec: ServerSpec, backends: BackendPair, make: FrontMake) -> None:
        project = project_name(self.place.owner, spec.slot)
        try:
            container, service = create_front(self.docker, self.place, spec, backends, make)
        except RefusedByDockerError as error:
            self._remove_unstarted(spec)
            raise Rejected(self._explained(spec, str(error))) from error
        path = self.place.runtime_socket(project, spec.port, service)
        deadline = time.monotonic() + OPEN_SECONDS
        checked = time.monotonic()
        while time.monotonic() < deadline:
            if ask_backends(path) == backends:
                return
            if time.monotonic() > checked + CHECK_SECONDS:
                checked = time.monotonic()
                if self._state(container) != "running":
                    break
            time.sleep(POLL_SECONDS)
        words = log_tail(self.docker, container)
        self.docker.run("rm", "--force", "--volumes", container)
        path.unlink(missing_ok=True)
        raise Rejected(self._explained(spec, f"it did not open within {OPEN_SECONDS:g} s.\n{words}"))

    def _state(self, container: str) -> str:
        try:
            form = "{{.State.Status}}"
            return self.docker.run("inspect", "--type", "container", "--format", form, container).strip()
        except RefusedByDockerError:
            return "dead"

    def _remove_unstarted(self, spec: ServerSpec) -> None:
        for front in discovery.discover(self.docker, self.place.owner).of(spec.slot).fronts:
            if front.port == spec.port and not front.running:
                self.remove(front)

    def _require_free(self, spec: ServerSpec) -> None:
        """Front doors can share a port, so that one can follow another; here nobody may have it.

        Rejected: somebody listens on it, or it is no address of this machine.
        """
        try:
            listen_on_trial(self.place.host, spec.port)
        except OSError as error:
            if error.errno != errno.EACCES:  # the front door is another user: it will see
                raise Rejected(self._explained(spec, os.strerror(error.errno or 0))) from error

    def _explained(self, spec: ServerSpec, said: str) -> str:
        place = f"port {spec.port} on {self.place.host}"
        change = f"choose another models.{spec.slot.model}.port in environments/{spec.slot.environment}.yaml"
        if any(words in said.casefold() for words in PORT_TAKEN):
            return f"{spec.slot}: {place} is taken by another program or container: stop that, or {change}."
        project = project_name(self.place.owner, spec.slot)
        return f"{spec.slot}: the front door of {project} cannot be opened on {place}: {said}"
