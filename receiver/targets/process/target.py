"""Model servers as processes of this machine: the target that needs nothing but Python.

They are started in sessions of their own and outlive the receiver. The next one finds them by their records and asks
them over their control sockets; nothing about them is remembered here. The other half is
``serving/lifecycle/handover.py``.
"""

import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from receiver.adapters import shell
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.prober import is_healthy
from receiver.core.errors import Rejected, VersionFailed
from receiver.core.state import USEFULNESS, Role, Server, ServerSpec
from receiver.ports import Stop, never
from receiver.targets.log_tail import describe
from receiver.targets.process.discovery import (
    POLL_SECONDS,
    STATUS_SECONDS,
    ServerDiscovery,
    Status,
    with_one_live_each,
)
from receiver.targets.process.records import ServerRecord, ServerRecords
from receiver.targets.readiness import wait_until_healthy
from serving.lifecycle import launch
from serving.lifecycle.control import ControlError, ask

DRAIN_SECONDS = 15.0  # more than a server waits for its requests in flight
RETIRE_SECONDS = 1.0  # how long to watch it go; who lingers over the last connections goes by itself
BACKLOG = 2048


class ProcessTarget:
    """Implements :class:`receiver.ports.Target`. ``command`` starts one model server; its options are appended."""

    def __init__(
        self,
        state: Path,
        *,
        host: str = "127.0.0.1",
        command: Sequence[str] = launch.COMMAND,
        start_seconds: float = 60.0,
    ) -> None:
        self.state = state.absolute()
        self.host = host
        self.start_seconds = start_seconds
        self._command = tuple(command)
        self._environment = launch.environment(os.environ, registry=False)  # the receiver has fetched by then
        self._records = ServerRecords(self.state)
        self._discovery = ServerDiscovery(self._records)
        self._seen: dict[str, ServerRecord] = {}

    def observe(self) -> Sequence[Server]:
        """See :meth:`receiver.ports.Target.observe`. A server that hangs does not answer, so it is not listed."""
        statuses = with_one_live_each(self._discovery.ask_all(self._records.all()))
        self._seen.update((status.record.id, status.record) for status in statuses)
        return [status.server() for status in statuses]

    def start(self, spec: ServerSpec, stop: Stop = never) -> Server:
        """See :meth:`receiver.ports.Target.start`."""
        same = self._discovery.ask_all([record for record in self._records.all() if record.spec == spec])
        found = min(same, key=lambda status: USEFULNESS.index(status.role), default=None)
        return self._healthy(found.record if found else self._spawn(spec), stop)

    def switch(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.switch`.

        The new server accepts before the old one stops, and from then on connections that idle on the old one are
        handed over. Done twice, or cut short and done again, it comes to the same.

        VersionFailed: the server has ended. Rejected: its port is another program's. Traffic is where it was.
        """
        record = self._records.get(server.id)
        status = self._discovery.ask(record) if record else None
        if record is None or status is None:
            words = self.log_tail(server)
            raise VersionFailed(f"{_name(server.spec)} cannot have traffic: it does not answer.\n{words}")
        others = [r for r in self._records.all() if r.spec.slot == record.spec.slot and r.id != record.id]
        if status.role is not Role.LIVE or status.port != record.spec.port:
            self._take(status, others)
        for other in others:
            self._drain(other, record)

    def retire(self, server: Server) -> None:
        """See :meth:`receiver.ports.Target.retire`. It lingers over idle connections that nobody took."""
        record = self._records.get(server.id)
        if record is None:
            return
        try:
            ask(record.control, {"do": "exit"}, timeout=STATUS_SECONDS)
        except (OSError, ControlError) as error:
            self._discovery.kill(record, f"it does not accept the command to exit: {error!r}")
        self._discovery.forget_when_ended(record, RETIRE_SECONDS)

    def log_tail(self, server: Server) -> str:
        """See :meth:`receiver.ports.Target.log_tail`."""
        record = self._records.get(server.id) or self._seen.get(server.id)
        return describe(record, alive=self._records.alive(record)) if record else f"{server.id} is not known here"

    def _spawn(self, spec: ServerSpec) -> ServerRecord:
        recorded = LogDirectories(self.state).prepare(spec.slot) if spec.log else None
        with self._records.create(spec) as (record, lock):
            pid = shell.start(
                [*self._command, *_options(spec, self.state / "cache", record.control, recorded)],
                environment=self._environment,
                directory=self.state,
                log=record.log,
                keep=[lock],
            )
            return self._records.note_pid(record, pid)

    def _healthy(self, record: ServerRecord, stop: Stop) -> Server:
        """Wait until a server has loaded its model and says that it is well. VersionFailed: that does not happen."""
        self._seen[record.id] = record

        def check() -> Server | None:
            status = self._discovery.ask(record)
            if status is not None and status.ready and is_healthy(status.url):
                return status.server()
            if not self._records.alive(record):
                words = describe(record, alive=False)
                raise VersionFailed(f"{_name(record.spec)} ended while it was starting.\n{words}")
            return None

        server = wait_until_healthy(check, self.start_seconds, POLL_SECONDS, stop)
        if server is not None:
            return server
        words = describe(record, alive=True)
        late = f"was not healthy {self.start_seconds:g} s after its start"
        self._discovery.kill(record, f"it {late}")
        raise VersionFailed(f"{_name(record.spec)} {late}, and was killed.\n{words}")

    def _take(self, status: Status, others: Sequence[ServerRecord]) -> None:
        """Let a server accept on its public port, whose listening socket somebody else may hold."""
        record = status.record
        listening = None if status.port == record.spec.port else self._listening(record.spec, others)
        try:
            fds = [] if listening is None else [listening.fileno()]
            ask(record.control, {"do": "take"}, fds=fds, timeout=DRAIN_SECONDS)
        except (OSError, ControlError) as error:
            alive = self._records.alive(record)
            blame = Rejected if alive else VersionFailed
            words = describe(record, alive=alive)
            raise blame(f"{_name(record.spec)} could not take its port: {error}.\n{words}") from error
        finally:
            if listening is not None:
                listening.close()

    def _listening(self, spec: ServerSpec, others: Sequence[ServerRecord]) -> socket.socket:
        """The listening socket of a slot's port: from who holds it, or new. Rejected: it cannot be had."""
        for status in self._discovery.ask_all(others):
            if status.port == spec.port:
                try:
                    return socket.socket(fileno=ask(status.record.control, {"do": "give"})[1][0])
                except (OSError, ControlError):
                    continue  # it ended this moment
        try:
            return self._bind(spec)
        except Rejected:
            silent = [r for r in others if r.spec.port == spec.port and self._records.alive(r)]
            if not silent:
                raise
        for record in silent:
            self._discovery.kill(record, f"it keeps port {spec.port} and does not answer")
        return self._bind(spec)

    def _bind(self, spec: ServerSpec) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, spec.port), family=family, backlog=BACKLOG)
        except OSError as error:
            place = f"port {spec.port} on {self.host}"
            change = f"choose another models.{spec.slot.model}.port in environments/{spec.slot.environment}.yaml"
            if error.errno != errno.EADDRINUSE:
                raise Rejected(f"{spec.slot}: {place} cannot be bound ({error.strerror}): {change}.") from error
            ours = next((s for s in self._discovery.ask_all(self._records.all()) if s.port == spec.port), None)
            who = f"the model server {ours.record.id}" if ours else "a program that Pinrail did not start"
            raise Rejected(f"{spec.slot}: {place} is taken by {who}: stop that, or {change}.") from error

    def _drain(self, record: ServerRecord, successor: ServerRecord) -> None:
        """Let a server stop accepting. One that does not answer holds up its clients and the port: it is killed."""
        status = self._discovery.ask(record)
        if status is not None and status.role is not Role.LIVE:
            return
        try:
            ask(record.control, {"do": "stand-by", "to": str(successor.control)}, timeout=DRAIN_SECONDS)
        except (OSError, ControlError) as error:
            self._discovery.kill(record, f"it does not accept the command to drain: {error!r}")


def _options(spec: ServerSpec, cache: Path, control: Path, recorded: Path | None) -> list[str]:
    identity = {
        "model": spec.slot.model,
        "version": spec.version,
        "digest": spec.digest,
        "environment": spec.slot.environment,
        "stage": spec.stage,
        "revision": spec.revision,
        "log": spec.log if recorded else None,
        "log-directory": recorded,
    }
    return launch.options(identity, cache, control)


def _name(spec: ServerSpec) -> str:
    return f"{spec.slot} v{spec.version}"
