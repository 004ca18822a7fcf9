"""Which model servers of the process target run, asked of each over its control socket."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from receiver.adapters import shell
from receiver.core.state import USEFULNESS, Role, Server, ServerSpec
from receiver.targets.process.records import ServerRecord, ServerRecords
from serving.lifecycle.control import ControlError, ask

log = logging.getLogger(__name__)

STATUS_SECONDS = 2.0  # a server that reads a long request, or is short of a processor, is not gone
BOOT_SECONDS = 5.0  # from a process's start to its control socket, on a busy machine
KILL_SECONDS = 5.0
POLL_SECONDS = 0.02
ASKING_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Status:
    """What a process, a server or a replica of one, said of itself a moment ago."""

    record: ServerRecord
    role: Role
    since: float  # of the role, on the machine's monotonic clock
    url: str
    ready: bool  # has loaded its model
    port: int | None  # whose listening socket it holds


@dataclass(frozen=True, slots=True)
class ReplicaGroup:
    """The replicas of one server that answer, by their number; most servers have one."""

    id: str
    members: Sequence[Status]

    @property
    def spec(self) -> ServerSpec:
        """What all of them were started with."""
        return self.members[0].record.spec

    @property
    def role(self) -> Role:
        """LIVE as soon as one of them accepts: the others do, or are to."""
        return min((member.role for member in self.members), key=USEFULNESS.index)

    @property
    def since(self) -> float:
        """When the first of them got its role."""
        return min(member.since for member in self.members if member.role is self.role)

    def server(self) -> Server:
        """The same in the flow's words."""
        accepting = sum(member.role is self.role for member in self.members)
        partly = f"{accepting} of {len(self.members)} replicas have traffic" if accepting < len(self.members) else ""
        urls = tuple(member.url for member in self.members)
        return Server(self.id, self.spec, self.role, urls, partly if self.role is Role.LIVE else "")


def grouped(statuses: Iterable[Status]) -> list[ReplicaGroup]:
    """The servers that processes are replicas of."""
    found: dict[str, list[Status]] = {}
    for status in sorted(statuses, key=lambda status: status.record.replica):
        found.setdefault(status.record.group, []).append(status)
    return [ReplicaGroup(name, members) for name, members in found.items()]


class ServerDiscovery:
    """Finds the servers that run, whoever started them, and ends those that can only be killed."""

    def __init__(self, records: ServerRecords) -> None:
        self.records = records

    def ask_all(self, records: Sequence[ServerRecord]) -> list[Status]:
        """The statuses of those that answer."""
        if len(records) < 2:  # noqa: PLR2004 - no pool for one
            found = [self.ask(record) for record in records]
        else:
            with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
                found = list(pool.map(self.ask, records))
        return [status for status in found if status is not None]

    def ask(self, record: ServerRecord) -> Status | None:
        """One server's status. None: it has ended (then its record goes), is about to end, or hangs."""
        deadline = record.began + BOOT_SECONDS
        while True:
            try:
                body, _ = ask(record.control, {"do": "status"}, timeout=STATUS_SECONDS)
                if record.pid is None:  # the receiver that started it died before it could note this
                    record = self.records.note_pid(record, int(body["pid"]))
                return _read(record, body)
            except (FileNotFoundError, ConnectionError):
                if not self.records.alive(record):
                    self.records.remove(record)
                    return None
                if time.monotonic() > deadline or _has_ended(record):
                    self._silent(record, "runs and has no control socket")
                    return None
            except (OSError, ControlError, KeyError, ValueError) as error:
                self._silent(record, f"does not say how it is: {error!r}")
                return None
            time.sleep(POLL_SECONDS)

    def may_accept(self, record: ServerRecord) -> bool:
        """It accepts on its public port or, where it does not say how it is, may do so as soon as it goes on."""
        if not self.records.alive(record):
            return False
        try:
            return bool(ask(record.control, {"do": "status"}, timeout=STATUS_SECONDS)[0]["role"] == Role.LIVE)
        except (OSError, ControlError, KeyError):
            return self.records.alive(record)

    def _silent(self, record: ServerRecord, why: str) -> None:
        """Say so. Where only what the server started is left, that ends: it keeps the server's lock and sockets."""
        if _has_ended(record):
            self.kill(record, "it has ended, and what it started has not")
        else:
            log.warning("%s (process %s) %s", record.id, record.pid, why)

    def kill(self, record: ServerRecord, reason: str) -> None:
        """Kill a server that does not obey a command, and its child processes. Ended already is fine."""
        if record.pid is None or record.pid <= 1 or not self.records.alive(record):  # 1 would mean every process
            return
        log.warning("killing %s (process %s): %s", record.id, record.pid, reason)
        with contextlib.suppress(OSError):  # what is left has made itself sessions of its own
            os.killpg(record.pid, 9)  # its group's number too, which is not given anew while anybody is in the group
        self.forget_when_ended(record, KILL_SECONDS)

    def forget_when_ended(self, record: ServerRecord, seconds: float) -> bool:
        """Watch a server end, for so long at most; what has ended leaves no record."""
        ended = wait_until(lambda: not self.records.alive(record), seconds)
        if ended:
            self.records.remove(record)
        return ended


def with_one_live_each(groups: Iterable[ReplicaGroup]) -> list[Server]:
    """A slot's traffic counts as given only when who had it has let go.

    Where a switch was cut short and two servers accept, the one that came first has the traffic and the other is a
    candidate still: then the switch is done again, whichever of the two is wanted.
    """
    result: list[Server] = []
    with_live = set()
    for server in (group.server() for group in sorted(groups, key=lambda group: group.since)):
        if server.role is Role.LIVE and server.spec.slot in with_live:
            result.append(replace(server, role=Role.CANDIDATE, differs=""))
            continue
        if server.role is Role.LIVE:
            with_live.add(server.spec.slot)
        result.append(server)
    return result


def _has_ended(record: ServerRecord) -> bool:
    return record.pid is not None and shell.has_ended(record.pid)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Look at a condition until it holds; False: it did not within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _read(record: ServerRecord, body: Mapping[str, Any]) -> Status | None:
    """Understand a status; None for a server that is leaving. ValueError: it is another server than recorded."""
    if body["role"] == "leaving":
        return None
    said = (body["spec"].get("model"), body["spec"].get("version"), body["spec"].get("digest"))
    spec = record.spec
    if said != (spec.slot.model, spec.version, spec.digest):
        raise ValueError(f"recorded as {spec.slot.model} v{spec.version}, but says that it is {said}")
    return Status(
        record=record,
        role=Role(body["role"]),
        since=float(body["since"]),
        url=record.url or str(body["private_url"]),
        ready=bool(body["ready"]),
        port=body["port"],
    )
