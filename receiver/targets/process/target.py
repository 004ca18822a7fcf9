"""Model servers as processes of this machine: the target that needs nothing but Python.

They are started in sessions of their own and outlive the receiver. The next one finds them by their records and asks
them over their control sockets; nothing about them is remembered here. The other half is
``serving/lifecycle/handover.py``.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from receiver.adapters import shell
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.prober import is_healthy
from receiver.core.errors import Rejected, VersionFailed
from receiver.core.state import USEFULNESS, Role, Server, ServerSpec
from receiver.ports import Stop, never
from receiver.targets.log_tail import describe
from receiver.targets.process.adoption import adopt_unrecorded
from receiver.targets.process.discovery import (
    POLL_SECONDS,
    STATUS_SECONDS,
    ServerDiscovery,
    with_one_live_each,
)
from receiver.targets.process.packages import ModelPackages
from receiver.targets.process.public_ports import PublicPorts
from receiver.targets.process.records import ServerRecord, ServerRecords
from receiver.targets.readiness import wait_until_healthy
from serving.lifecycle import launch
from serving.lifecycle.control import ControlError, ask

RETIRE_SECONDS = 1.0  # how long to watch it go; who lingers over the last connections goes by itself


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
        self.start_seconds = start_seconds
        self._command = tuple(command)
        self._environment = launch.environment(os.environ, registry=False)  # the receiver has fetched by then
        self._packages = ModelPackages(self.state)
        self._records = ServerRecords(self.state)
        self._discovery = ServerDiscovery(self._records)
        self._ports = PublicPorts(self._discovery, host)
        self._seen: dict[str, ServerRecord] = {}

    def observe(self) -> Sequence[Server]:
        """See :meth:`receiver.ports.Target.observe`. A server that hangs does not answer, so it is not listed."""
        adopt_unrecorded(self._records)
        statuses = with_one_live_each(self._discovery.ask_all(self._records.all()))
        self._seen.update((status.record.id, status.record) for status in statuses)
        return [status.server() for status in statuses]

    def needed_packages(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.needed_packages`."""
        return self._packages.needed(spec)

    def missing_packages(self, spec: ServerSpec) -> str:
        """See :meth:`receiver.ports.Target.missing_packages`."""
        return self._packages.missing(spec)

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        """See :meth:`receiver.ports.Target.install`."""
        self._packages.interpreter(spec, stop)

    def start(self, spec: ServerSpec, stop: Stop = never) -> Server:
        """See :meth:`receiver.ports.Target.start`."""
        adopt_unrecorded(self._records)
        same = self._discovery.ask_all([record for record in self._records.all() if record.spec == spec])
        found = min(same, key=lambda status: USEFULNESS.index(status.role), default=None)
        return self._healthy(found.record if found else self._spawn(spec, stop), stop)

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
        if status.role is not Role.LIVE or status.port != record.spec.port:
            self._ports.take(status)
        for other in self._records.all():
            if other.spec.slot == record.spec.slot and other.id != record.id:
                self._ports.drain(other, record)

    def exchange(self, servers: Sequence[Server]) -> None:
        """See :meth:`receiver.ports.Target.exchange`."""
        records = [record for server in servers if (record := self._records.get(server.id)) is not None]
        statuses = self._discovery.ask_all(records)
        answering = {status.record.id for status in statuses if status.ready}
        gone = next((server for server in servers if server.id not in answering), None)
        if gone is not None:
            words = self.log_tail(gone)
            raise Rejected(f"{_name(gone.spec)} cannot have traffic: it does not answer.\n{words}")
        self._ports.exchange(statuses)

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

    def _spawn(self, spec: ServerSpec, stop: Stop = never) -> ServerRecord:
        program, *arguments = self._command
        program = self._packages.interpreter(spec, stop) or program
        recorded = LogDirectories(self.state).prepare(spec.slot) if spec.log else None
        with self._records.create(spec) as (record, lock):
            pid = shell.start(
                [program, *arguments, *_options(spec, self.state / "cache", record.control, recorded)],
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
