"""What is written down about each model server of the process target, so that none is ever lost.

A record is written and locked before its server is started, and the server inherits the lock. So a record whose lock
can be had belongs to a server that has ended (or was never started), whoever started it and however it ended; and no
server runs without a record. Process ids, which the system reuses, decide nothing.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from receiver.core.errors import Rejected
from receiver.core.state import ServerSpec, Slot

KEPT_LOGS = 100
REPLICA = re.compile(r"(.+-[0-9a-f]{8})\.([0-9]+)")  # the name of one of several


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One started process, a server or a replica of one: what it was started as, and where its files are."""

    id: str
    spec: ServerSpec
    path: Path
    control: Path
    log: Path
    began: float  # on the machine's monotonic clock, before the start
    oom_kills: int | None  # the kernel's count at that time
    url: str = ""  # where it answers before it has a port, as it was started; empty: it has to say
    pid: int | None = None  # None: the receiver died between starting it and noting this

    @property
    def private(self) -> Path:
        """The directory that the server can write to, where it is confined."""
        return self.path.with_suffix(".private")

    @property
    def group(self) -> str:
        """The name of the server that it is a replica of; its own where that has only one."""
        return found[1] if (found := REPLICA.fullmatch(self.id)) else self.id

    @property
    def replica(self) -> int:
        """Which of the server's replicas it is, from 1."""
        return int(found[2]) if (found := REPLICA.fullmatch(self.id)) else 1


def new_group(spec: ServerSpec) -> str:
    """A name for a server: short enough for a socket's address, and telling enough for who lists the directory."""
    return f"{spec.slot.environment[:12]}-{spec.slot.model[:20]}-{spec.version}-{secrets.token_hex(4)}"


class ServerRecords:
    """The records below one state directory. Several processes may read; one writes."""

    def __init__(self, state: Path) -> None:
        self.directory = state / "servers"
        self.logs = state / "logs"
        for directory in (self.directory, self.logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.directory.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise Rejected(
                f"{self.directory} belongs to another user, or others may write into it. What stands there"
                " is believed about model servers: run as its owner, or stop the servers and remove it."
            )
        self._creating = threading.Lock()  # a slot's thread must not take another's new record for a leftover

    def unrecorded(self) -> list[Path]:
        """Control sockets without a record: of servers that have outlived an earlier state directory."""
        recorded = {path.stem for path in self.directory.glob("*.jsonl")}
        return [path for path in sorted(self.directory.glob("*.sock")) if path.stem not in recorded]

    @contextlib.contextmanager
    def recreate(self, control: Path, spec: ServerSpec) -> Iterator[tuple[ServerRecord, int]]:
        """Write the record of a server that runs; yield it and its lock, for the server to hold.

        OSError: another process does the same.
        """
        record = self._named(control.stem, spec, time.monotonic(), oom_kills())
        with self._creating:
            fd = self._write(record, record.path.with_suffix(".new"))
        try:
            yield record, fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def create(
        self, spec: ServerSpec, group: str | None = None, replica: int = 1, url: str = ""
    ) -> Iterator[tuple[ServerRecord, int]]:
        """Write the record of a replica, of a new server where no ``group`` is named; yield it and its lock.

        The lock is a descriptor for the process to inherit.
        """
        group = group or new_group(spec)
        name = group if spec.replicas == 1 else f"{group}.{replica}"
        record = replace(self._named(name, spec, time.monotonic(), oom_kills()), url=url)
        unlocked = record.path.with_suffix(".new")
        with self._creating:
            self._tidy()
            fd = self._write(record, unlocked)
        try:
            yield record, fd
        finally:
            os.close(fd)

    def make_private(self, record: ServerRecord) -> Path:
        """Make the directory that a confined server can write to; its own process removes it in the end."""
        record.private.mkdir(mode=0o700)
        return record.private

    @contextlib.contextmanager
    def locked(self, record: ServerRecord) -> Iterator[int]:
        """The lock of a record that nobody holds. OSError: somebody does, or the record is gone."""
        fd = os.open(record.path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield fd
        finally:
            os.close(fd)

    @staticmethod
    def _write(record: ServerRecord, unlocked: Path) -> int:
        content = {"spec": asdict(record.spec), "began": record.began, "oom_kills": record.oom_kills}
        content["url"] = record.url
        with os.fdopen(os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(json.dumps(content).encode() + b"\n")
        fd = os.open(unlocked, os.O_RDONLY)  # the server inherits it, and must not write what is believed about it
        try:
            # Locked before it can be seen, or another reader would take it for a leftover.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unlocked.rename(record.path)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def note_pid(self, record: ServerRecord, pid: int) -> ServerRecord:
        """Add the process id, on a line of its own so that a crash cannot spoil the rest."""
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            fd = os.open(record.path, os.O_WRONLY | os.O_APPEND)
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(json.dumps({"pid": pid}) + "\n")
        return replace(record, pid=pid)

    def all(self) -> list[ServerRecord]:
        """Every record that can be read; others are of servers that never came to be."""
        found = (self._read(path) for path in sorted(self.directory.glob("*.jsonl")))
        return [record for record in found if record is not None]

    def get(self, record_id: str) -> ServerRecord | None:
        """One record, or None where it is gone."""
        return self._read(self.directory / f"{record_id}.jsonl")

    def of(self, group: str) -> list[ServerRecord]:
        """The records of a server's replicas."""
        return [record for record in self.all() if record.group == group]

    def alive(self, record: ServerRecord) -> bool:
        """The server has not ended."""
        try:
            fd = os.open(record.path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(fd)

    def remove(self, record: ServerRecord) -> None:
        """Forget a server that has ended; its log stays for a while."""
        record.control.unlink(missing_ok=True)
        record.path.unlink(missing_ok=True)
        _remove(record.private)

    def _named(self, name: str, spec: ServerSpec, began: float, kills: int | None) -> ServerRecord:
        return ServerRecord(
            id=name,
            spec=spec,
            path=self.directory / f"{name}.jsonl",
            control=self.directory / f"{name}.sock",
            log=self.logs / f"{name}.log",
            began=began,
            oom_kills=kills,
        )

    def _read(self, path: Path) -> ServerRecord | None:
        try:
            first, *rest = path.read_text(encoding="utf-8").splitlines()
            content = json.loads(first)
            record = self._named(path.stem, _spec(content["spec"]), content["began"], content["oom_kills"])
            record = replace(record, url=str(content.get("url", "")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
            return replace(record, pid=int(json.loads(rest[0])["pid"]))
        return record

    def _tidy(self) -> None:
        for unlocked in self.directory.glob("*.new"):  # a receiver died before it could start the server
            unlocked.unlink(missing_ok=True)
        recorded = {path.stem for path in self.directory.glob("*.jsonl")}
        groups = {record.group for record in self.all()}
        for counts in self.directory.glob("*.load"):  # see serving/lifecycle/shared_accept.py
            if counts.stem not in groups:
                counts.unlink(missing_ok=True)
        for private in self.directory.glob("*.private"):
            if private.stem not in recorded and not private.with_suffix(".sock").exists():
                _remove(private)
        ended = [log for log in self.logs.glob("*.log") if log.stem not in recorded]
        for log in sorted(ended, key=lambda log: log.stat().st_mtime)[:-KEPT_LOGS]:
            log.unlink(missing_ok=True)


def _remove(private: Path) -> None:
    with contextlib.suppress(RecursionError):  # a model has filled it as it liked
        shutil.rmtree(private, ignore_errors=True)


def oom_kills() -> int | None:
    """How many processes the kernel has ended for lack of memory since boot; None where it does not say."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):  # no Linux, or one from before 4.13
        return None


def _spec(raw: dict[str, Any]) -> ServerSpec:
    return ServerSpec(**{**raw, "slot": Slot(**raw["slot"])})
