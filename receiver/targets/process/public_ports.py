"""Which model server accepts on which public port: listening sockets pass from one server to the next, never closed.

A server that stops accepting keeps its listening socket: until somebody accepts again, clients wait in the backlog.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from receiver.adapters.addresses import family
from receiver.core.errors import Rejected, VersionFailed
from receiver.core.port_moves import given_twice
from receiver.core.state import Role, ServerSpec
from receiver.targets.log_tail import describe
from receiver.targets.process.discovery import STATUS_SECONDS, ServerDiscovery, Status, wait_until
from receiver.targets.process.records import ServerRecord
from serving.lifecycle.control import ControlError, ask

DRAIN_SECONDS = 15.0  # more than a server waits for its requests in flight
BACKLOG = 2048


class PublicPorts:
    """Has servers accept on public ports, and stop. Replicas of one accept on the same listening socket."""

    def __init__(self, discovery: ServerDiscovery, host: str) -> None:
        self._discovery = discovery
        self._records = discovery.records
        self._host = host

    def take(self, replicas: Sequence[Status], before: Sequence[ServerRecord] = ()) -> None:
        """Let replicas of one server accept on its public port: all of them or, where one cannot, none.

        ``before``: who goes on accepting then, and gets what was accepted meanwhile.
        Rejected: somebody else has the port. VersionFailed: a replica has ended.
        """
        records = [status.record for status in replicas]
        with contextlib.ExitStack() as opened:
            sockets = self._sockets(replicas, self._holders(records, [records[0].spec.slot]), opened)
            for place, (record, fds) in enumerate(zip(records, sockets, strict=True)):
                try:
                    ask(record.control, {"do": "take"}, fds=fds, timeout=DRAIN_SECONDS)
                except (OSError, ControlError) as error:
                    alive = self._records.alive(record)
                    words = describe(record, alive=alive)
                    for taken in records[: place + 1]:  # one that does not answer could obey later
                        self._order_drain(taken, before)
                    blame = Rejected if alive else VersionFailed
                    raise blame(f"{_name(record.spec)} could not take its port: {error}.\n{words}") from error

    def drain_all(self, records: Sequence[ServerRecord], successors: Sequence[ServerRecord]) -> None:
        """Let servers stop accepting. One that does not answer holds up its clients and the port: it is killed."""
        turns = [place % len(successors) for place in range(len(records))]
        rotated = [[*successors[turn:], *successors[:turn]] for turn in turns]  # few connections are spread too
        with ThreadPoolExecutor(max(1, len(records))) as pool:
            list(pool.map(self._drain, records, rotated))

    def _drain(self, record: ServerRecord, successors: Sequence[ServerRecord]) -> None:
        status = self._discovery.ask(record)
        if status is None or status.role is Role.LIVE:
            self._order_drain(record, successors)

    def exchange(self, moving: Sequence[Status]) -> None:
        """Let each of these servers, one per slot, accept on its port, and the slots' others stop.

        All sockets are there before anybody stops; and all have stopped before anybody takes another's port: for a
        moment clients wait, and nobody gets an answer of the slot that has just left. Rejected: nobody has moved.
        """
        records = [status.record for status in moving]
        slots = [record.spec.slot for record in records]
        if why := given_twice({record.spec.slot: record.spec.port for record in records}):
            raise Rejected(why)
        statuses = self._discovery.ask_all(self._records.all())
        old = [s for s in statuses if s.record.spec.slot in slots and s.record not in records and s.role is Role.LIVE]
        with contextlib.ExitStack() as opened, ThreadPoolExecutor(max(1, len(old))) as pool:
            holders = self._holders(records, slots, statuses)
            for record in self._silent(statuses):
                if record.spec.slot in slots and self._discovery.may_accept(record):
                    self._discovery.kill(record, "it does not say how it is, and its slot changes its port")
            sockets = self._sockets(moving, holders, opened)
            leaving = [pool.submit(self._order_drain, status.record) for status in old]
            try:
                self._require_stopped([status.record for status in old])
                for record, fds in zip(records, sockets, strict=True):
                    _accept(record, fds)
            except Rejected:
                self._undo(records, old)
                raise
            for future in leaving:
                future.result()
            for status in old:  # who was connected there is connected to who has the port now
                taken = [record for record in records if record.spec.port == status.port]
                own = [record for record in records if record.spec.slot == status.record.spec.slot]
                pool.submit(self._order_drain, status.record, taken or own)

    def _undo(self, records: Sequence[ServerRecord], old: Sequence[Status]) -> None:
        for record in records:
            self._order_drain(record)  # one that does not answer could still obey the order to accept, later
        for status in old:
            with contextlib.suppress(OSError, ControlError):
                ask(status.record.control, {"do": "take"}, timeout=DRAIN_SECONDS)

    def _require_stopped(self, old: Sequence[ServerRecord]) -> None:
        """Wait until none of these accepts; kill who does not say so. Rejected: one goes on all the same."""
        for record in old:
            if wait_until(lambda r=record: not self._discovery.may_accept(r), STATUS_SECONDS):  # type: ignore[misc]
                continue
            self._discovery.kill(record, "it does not say that it has stopped to accept")
            if self._discovery.may_accept(record):
                raise Rejected(
                    f"{record.id} (process {record.pid}) does not stop to accept on port {record.spec.port}."
                )

    def _order_drain(self, record: ServerRecord, successors: Sequence[ServerRecord] = ()) -> None:
        paths = [str(successor.control) for successor in successors]
        to = {"to": paths[0], "also": paths[1:]} if paths else {}
        try:
            with _connected_to(successors) as connections:
                ask(record.control, {"do": "stand-by", **to}, fds=connections, timeout=DRAIN_SECONDS)
        except (OSError, ControlError) as error:
            self._discovery.kill(record, f"it does not accept the command to drain: {error!r}")

    def _holders(
        self, records: Sequence[ServerRecord], slots: Sequence[object], statuses: Sequence[Status] | None = None
    ) -> Mapping[int, Status]:
        """Who holds the sockets of the servers' ports. Rejected: another slot than these accepts on one, or may."""
        found: dict[int, Status] = {}
        wanted = {record.spec.port: record for record in records}
        statuses = statuses if statuses is not None else self._discovery.ask_all(self._records.all())
        for other in self._silent(statuses):
            elsewhere = other.spec.slot not in slots and other.spec.port in wanted
            if elsewhere and self._discovery.may_accept(other):
                who = f"the model server {other.id} (process {other.pid}), which does not say how it is"
                raise Rejected(self._taken(wanted[other.spec.port].spec, who))
        for status in statuses:
            record = wanted.get(status.port or 0)
            if record is None or status.port is None:
                continue
            if status.role is Role.LIVE and status.record.spec.slot not in slots:
                raise Rejected(self._taken(record.spec, f"the model server {status.record.id}"))
            if status.port not in found or status.role is Role.LIVE:
                found[status.port] = status
        return found

    def _silent(self, statuses: Sequence[Status]) -> list[ServerRecord]:
        answered = {status.record.id for status in statuses}
        return [record for record in self._records.all() if record.id not in answered]

    def _sockets(
        self, replicas: Sequence[Status], holders: Mapping[int, Status], opened: contextlib.ExitStack
    ) -> list[list[int]]:
        """The listening socket that each of these is to be passed, none where it has its own; one per port."""
        by_port: dict[int, list[int]] = {}
        found: list[list[int]] = []
        for status in replicas:
            port = status.record.spec.port
            if status.port == port:
                found.append([])
                continue
            if port not in by_port:
                listening = self._listening(status, holders)
                by_port[port] = [opened.enter_context(listening).fileno()]
            found.append(by_port[port])
        return found

    def _listening(self, status: Status, holders: Mapping[int, Status]) -> socket.socket:
        """The listening socket of a server's port: from who holds it, or new. Rejected: it cannot be had."""
        spec = status.record.spec
        holder = holders.get(spec.port)
        if holder is not None:
            with contextlib.suppress(OSError, ControlError):  # it ended this moment
                return socket.socket(fileno=ask(holder.record.control, {"do": "give"})[1][0])
        try:
            return self._bind(spec)
        except Rejected:
            same = [r for r in self._records.all() if (r.spec.slot, r.spec.port) == (spec.slot, spec.port)]
            silent = [r for r in same if r.id != status.record.id and self._records.alive(r)]
            if not silent:
                raise
        for record in silent:
            self._discovery.kill(record, f"it keeps port {spec.port} and does not answer")
        return self._bind(spec)

    def _bind(self, spec: ServerSpec) -> socket.socket:
        try:
            return socket.create_server((self._host, spec.port), family=family(self._host), backlog=BACKLOG)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Rejected(self._taken(spec, "a program that Pinrail did not start")) from error
            found = f"port {spec.port} on {self._host} cannot be bound ({error.strerror})"
            raise Rejected(f"{spec.slot}: {found}: {_other_port(spec)}.") from error

    def _taken(self, spec: ServerSpec, who: str) -> str:
        return f"{spec.slot}: port {spec.port} on {self._host} is taken by {who}: stop that, or {_other_port(spec)}."


@contextlib.contextmanager
def _connected_to(successors: Sequence[ServerRecord]) -> Iterator[Sequence[int]]:
    """Connections on which a server, confined or not, hands connections on; none to a successor that is older."""
    with contextlib.ExitStack() as opened:
        connections = []
        for successor in successors:
            here, there = map(opened.enter_context, socket.socketpair())
            with there, contextlib.suppress(OSError, ControlError):
                ask(successor.control, {"do": "expect"}, fds=[there.fileno()], timeout=STATUS_SECONDS)
                connections.append(here.fileno())
        yield connections


def _accept(record: ServerRecord, fds: Sequence[int]) -> None:
    try:
        ask(record.control, {"do": "take"}, fds=fds, timeout=DRAIN_SECONDS)
    except (OSError, ControlError) as error:
        raise Rejected(f"{_name(record.spec)} could not take its port: {error}.") from error


def _other_port(spec: ServerSpec) -> str:
    return f"choose another models.{spec.slot.model}.port in environments/{spec.slot.environment}.yaml"


def _name(spec: ServerSpec) -> str:
    return f"{spec.slot} v{spec.version}"
