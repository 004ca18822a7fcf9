"""Model servers as processes of this machine: the target that needs nothing but Python.

They are started in sessions of their own and outlive the receiver. The next one finds them by their records and asks
them over their control sockets; nothing about them is remembered here. The other half is
``serving/lifecycle/handover.py``.
"""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from receiver.adapters import shell
from receiver.adapters.cgroups import Cgroups
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.prober import is_healthy
from receiver.core.errors import Rejected, VersionFailed
from receiver.core.state import USEFULNESS, Role, Server, ServerSpec, Slot
from receiver.ports import Stop, never
from receiver.targets.log_tail import describe
from receiver.targets.process.adoption import adopt_unrecorded
from receiver.targets.process.discovery import (
    POLL_SECONDS,
    STATUS_SECONDS,
    ReplicaGroup,
    ServerDiscovery,
    Status,
    grouped,
    wait_until,
    with_one_live_each,
)
from receiver.targets.process.packages import ModelPackages
from receiver.targets.process.public_ports import BACKLOG, PublicPorts
from receiver.targets.process.records import ServerRecord, ServerRecords, new_group
from receiver.targets.readiness import wait_until_healthy
from serving.confinement import landlock
from serving.lifecycle import launch
from serving.lifecycle.control import ControlError, ask

RETIRE_SECONDS = 1.0  # how long to watch it go; who lingers over the last connections goes by itself
PATIENCE_SECONDS = 6.0  # with a replica that says nothing while others answer; clients wait for what it is asked


class ProcessTarget:
    """Implements :class:`receiver.ports.Target`. ``command`` starts one model server; its options are appended."""

    def __init__(
        self,
        state: Path,
        *,
        host: str = "127.0.0.1",
        command: Sequence[str] = launch.COMMAND,
        start_seconds: float = 60.0,
        dashboard: str = "",
        confine: bool = True,
    ) -> None:
        """``dashboard``: the address of the receiver's pages, which servers' pages link to; empty: none.

        ``confine``: let a model reach nothing but its own, where the kernel can.
        """
        self.state = state.absolute()
        self.start_seconds = start_seconds
        self._confines_itself = confine and landlock.version() > 0
        self._command = tuple(command)
        self._environment = launch.environment(os.environ, registry=False)  # the receiver has fetched by then
        self._dashboard = dashboard
        self._packages = ModelPackages(self.state)
        self._records = ServerRecords(self.state)
        self._limits = Cgroups(self.state)
        self._discovery = ServerDiscovery(self._records)
        self._ports = PublicPorts(self._discovery, host)
        self._seen: dict[str, ServerRecord] = {}
        self._retired: set[str] = set()  # of these: how they ended is nobody's concern

    def observe(self) -> Sequence[Server]:
        """See :meth:`receiver.ports.Target.observe`. A server that hangs does not answer, so it is not listed."""
        adopt_unrecorded(self._records)
        statuses = self._discovery.ask_all(self._records.all())
        self._seen.update((status.record.id, status.record) for status in statuses)
        return with_one_live_each(grouped(statuses))

    def refusal(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.refusal`."""
        refusal = self._limits.refusal() if spec.limited else ""
        return f"{_name(spec)} asks for resources: {refusal}" if refusal else ""

    def unverified_packages(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.unverified_packages`."""
        return self._packages.unverified(spec)

    def missing_packages(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.missing_packages`."""
        return self._packages.missing(spec)

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Target.install`."""
        self._packages.interpreter(spec, stop)

    def start(self, spec: ServerSpec, stop: Stop = never, at_once: int = 1) -> Server:
        """See :meth:`receiver.ports.Target.start`."""
        adopt_unrecorded(self._records)
        same = grouped(self._discovery.ask_all([record for record in self._records.all() if record.spec == spec]))
        found = min(same, key=lambda group: USEFULNESS.index(group.role), default=None)
        there = [member.record for member in found.members] if found else []
        for record in self._records.of(found.id) if found else []:
            if record not in there and self._answers_after_all(record):
                there.append(record)
            elif record not in there:
                self._discovery.kill(record, "the other replicas answer, and it does not")
        name = found.id if found else new_group(spec)
        self._wait_until_healthy(there, stop)
        self._start_replicas(spec, name, spec.replicas - len(there), (stop, at_once))
        group = self._group(name)
        if group is None:
            raise VersionFailed(f"{_name(spec)} ended as soon as it had started.")
        return group.server()

    def switch(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.switch`.

        The new server accepts before the old one stops, and from then on connections that idle on the old one are
        handed over. Done twice, or cut short and done again, it comes to the same.

        VersionFailed: the server has ended. Rejected: its port is another program's. Traffic is where it was.
        """
        replicas = self._all_replicas(server)
        if replicas is None:
            words = self.log_tail(server)
            raise VersionFailed(f"{_name(server.spec)} cannot have traffic: it does not answer.\n{words}")
        records = [status.record for status in replicas]
        others = [r for r in self._records.all() if r.spec.slot == server.spec.slot and r.group != server.id]
        waiting = [s for s in replicas if s.role is not Role.LIVE or s.port != server.spec.port]
        if waiting:
            self._ports.take(waiting, self._live_among(others))
        self._ports.drain_all(others, records)

    def exchange(self, servers: Sequence[Server]) -> None:
        """See :meth:`receiver.ports.Target.exchange`."""
        moving: list[Status] = []
        for server in servers:
            replicas = self._all_replicas(server)
            if replicas is None or not all(status.ready for status in replicas):
                words = self.log_tail(server)
                raise Rejected(f"{_name(server.spec)} cannot have traffic: it does not answer.\n{words}")
            moving += replicas
        self._ports.exchange(moving)

    def retire(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.retire`. It lingers over idle connections that nobody took."""
        records = self._records.of(server.id)
        for record in records:
            self._retired.add(record.id)
            try:
                ask(record.control, {"do": "exit"}, timeout=STATUS_SECONDS)
            except (OSError, ControlError) as error:
                self._discovery.kill(record, f"it does not accept the command to exit: {error!r}")
        for record in records:
            self._discovery.forget_when_ended(record, RETIRE_SECONDS)
        if server.spec.limited:
            self._limits.remove([record.id for record in records if not self._records.alive(record)])

    def how_ended(self, slot: Slot) -> str:
        """See :meth:`receiver.ports.Target.how_ended`."""
        seen = [r for r in self._seen.values() if r.spec.slot == slot and r.id not in self._retired]
        ended = [record for record in seen if not self._records.alive(record)]
        for record in ended:
            del self._seen[record.id]
        return "\n".join(self._describe(record).partition("; its log is")[0] for record in ended)

    def log_tail(self, server: Server) -> str:
        """See :meth:`receiver.ports.Target.log_tail`. Of several replicas, those that have ended are described."""
        known = {r.id: r for r in (*self._seen.values(), *self._records.of(server.id)) if r.group == server.id}
        alive = [record for record in known.values() if self._records.alive(record)]
        ended = [record for record in known.values() if record not in alive]
        words = [self._describe(record) for record in ended or alive]
        return "\n".join(words) or f"{server.id} is not known here"

    def _describe(self, record: ServerRecord) -> str:
        memory = bool(record.spec.memory_mb) and self._limits.ran_out_of_memory(record.id)
        return describe(record, alive=self._records.alive(record), out_of_memory=memory)

    def _answers_after_all(self, record: ServerRecord) -> bool:
        """A replica that did not say how it is was only short of a processor: to end it would fail its requests."""
        wait_until(
            lambda: not self._records.alive(record) or self._discovery.ask(record) is not None, PATIENCE_SECONDS
        )
        return self._discovery.ask(record) is not None

    def _group(self, group: str) -> ReplicaGroup | None:
        found = grouped(self._discovery.ask_all(self._records.of(group)))
        return found[0] if found else None

    def _all_replicas(self, server: Server) -> Sequence[Status] | None:
        """The replicas of a server; None: it does not answer, or one of them does not."""
        group = self._group(server.id)
        return group.members if group is not None and len(group.members) >= server.spec.replicas else None

    def _live_among(self, records: Sequence[ServerRecord]) -> list[ServerRecord]:
        return [status.record for status in self._discovery.ask_all(records) if status.role is Role.LIVE]

    def _start_replicas(self, spec: ServerSpec, group: str, count: int, pace: tuple[Stop, int]) -> None:
        """Start so many more replicas, a few at once, and wait for them; where one fails, none of these is left."""
        stop, at_once = pace
        taken = {record.replica for record in self._records.of(group)}
        free = [number for number in range(1, spec.replicas + len(taken) + 1) if number not in taken]
        begun: list[ServerRecord] = []
        try:
            for place in range(0, count, at_once):
                numbers = free[place : min(place + at_once, count)]
                begun += [self._spawn(spec, group, number, stop) for number in numbers]
                self._wait_until_healthy(begun[place:], stop)
        except VersionFailed:
            for record in begun:
                self._discovery.kill(record, "another replica of it did not become healthy")
            raise

    def _spawn(
        self, spec: ServerSpec, group: str | None = None, replica: int = 1, stop: Stop = never
    ) -> ServerRecord:
        program, *arguments = self._command
        program = self._packages.interpreter(spec, stop) or program
        recorded = LogDirectories(self.state).prepare(spec.slot) if spec.log else None
        with (
            # Not asked of the server, whose model could name another's.
            socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listening,
            self._records.create(spec, group, replica, _url(listening)) as (record, lock),
        ):
            private = self._records.make_private(record) if self._confines_itself else None
            confined = launch.confinement(private, network=spec.egress)
            pid = shell.start(
                [program, *arguments, *_options(record, self.state / "cache", recorded, listening), *confined],
                environment=self._environment
                | launch.thread_settings(self._environment, spec.cpus)
                | launch.page_settings(self._dashboard, spec.slot.environment, spec.slot.model)
                | launch.private(private),
                directory=private or self.state,
                log=record.log,
                keep=[lock, listening.fileno()],
            )
            started = self._records.note_pid(record, pid)
            if spec.limited:
                self._confine(started, pid)
            return started

    def _confine(self, record: ServerRecord, pid: int) -> None:
        self._limits.remove([record.id])  # of a replica that ended and had its name
        of_interest = self._seen.keys() - self._retired  # how they have ended is still to be said
        self._limits.remove(keep=[*of_interest, *(known.id for known in self._records.all())])
        try:
            self._limits.confine(record.id, pid, record.spec.cpus, record.spec.memory_mb)
        except Rejected:
            self._discovery.kill(record, "its limits cannot be set")
            raise

    def _wait_until_healthy(self, records: Sequence[ServerRecord], stop: Stop) -> None:
        """Wait until these have loaded their model and say that they are well. VersionFailed: one does not."""
        waiting = list(records)
        self._seen.update((record.id, record) for record in records)

        def check() -> bool:
            for record in list(waiting):
                status = self._discovery.ask(record)
                if status is not None and status.ready and is_healthy(status.url):
                    waiting.remove(record)
                elif not self._records.alive(record):
                    words = self._describe(record)
                    raise VersionFailed(f"{_name(record.spec)} ended while it was starting.\n{words}")
            return not waiting

        if wait_until_healthy(check, self.start_seconds, POLL_SECONDS, stop):
            return
        words = self._describe(waiting[0])
        late = f"was not healthy {self.start_seconds:g} s after its start"
        for record in waiting:
            self._discovery.kill(record, f"it {late}")
        raise VersionFailed(f"{_name(waiting[0].spec)} {late}, and was killed.\n{words}")


def _options(record: ServerRecord, cache: Path, recorded: Path | None, private: socket.socket) -> list[str]:
    spec, several = record.spec, record.spec.replicas > 1
    identity = {
        "model": spec.slot.model,
        "version": spec.version,
        "digest": spec.digest,
        "environment": spec.slot.environment,
        "stage": spec.stage,
        "revision": spec.revision,
        "log": spec.log if recorded else None,
        "log-directory": recorded,
        "replica": record.replica if several else None,
        "replicas": spec.replicas if several else None,
        "cpus": spec.cpus or None,
        "memory-mb": spec.memory_mb or None,
        "private": private.fileno(),
    }
    return launch.options(identity, cache, record.control)


def _url(listening: socket.socket) -> str:
    return "http://{}:{}".format(*listening.getsockname())


def _name(spec: ServerSpec) -> str:
    return f"{spec.slot} v{spec.version}"
