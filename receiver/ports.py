"""The outside world as the flow sees it: one Protocol per thing that can fail, hang or lie.

Every method raises :class:`~receiver.core.errors.Retryable` when the outside is not ready and
:class:`~receiver.core.errors.Rejected` when the request itself is wrong. Each Protocol has one contract suite in
``tests/contracts`` that runs against the fake and the real thing alike.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ml.evidence import Evidence
from receiver.core.commit_status import PublishedStatus
from receiver.core.deployment import Deployment, Draft, KeptVersion, Outcome, Verified, WayBack
from receiver.core.messages import Message
from receiver.core.plan import Action
from receiver.core.policy import Hold
from receiver.core.quarantine import Freeze, Quarantine
from receiver.core.state import RegisteredVersion, RegistryView, Server, ServerSpec, Slot


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The environment files at one commit of the watched branch, as bytes; nothing is ever checked out."""

    commit: str  # full hex object name
    files: Mapping[str, bytes]  # path inside the repository -> content; only environments/*.yaml
    rewritten: bool  # the branch no longer contains the commit of the previous snapshot
    stale: str | None = None  # why this is the last fetched head instead of the current one


class Source(Protocol):
    """The git repository whose branch head is the truth."""

    def snapshot(self) -> Snapshot:
        """Fetch the branch head. Unreachable remote: the last fetched head, marked ``stale``."""
        ...


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A registered version whose artifacts are on this machine, by content."""

    model: str
    version: int
    run_id: str | None
    digest: str  # computed from the artifacts when they were downloaded, never read from a tag
    path: Path  # the artifacts in the content-addressed cache
    fetched_at: float = field(compare=False)  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Resolved:
    """A registered version as it was when it was fetched, and its evidence for one environment."""

    version: ModelVersion
    evidence: Evidence | None  # None: none is recorded, none was asked for, or it is unread
    unread: bool = False  # evidence is recorded, and was not downloaded yet


class Registry(Protocol):
    """The model registry. Writes are idempotent and read back: when one returns, the registry says so too."""

    def observe(self, wanted: Mapping[str, Collection[int]]) -> dict[str, RegistryView | None]:
        """Aliases and stages of each wanted model, and how these versions of it are described.

        None: the model is not registered. A model that is left out was not asked for. The number of requests does not
        grow with the number of models or versions that are not there.
        """
        ...

    def versions(self, model: str) -> Sequence[int]:
        """The numbers of the READY versions, ascending; none where the model is not registered."""
        ...

    def resolve(self, found: RegisteredVersion, environment: str | None = None) -> Resolved | None:
        """What was fetched of this version, with its evidence for ``environment`` if one is named.

        Asks nobody: it compares the description with what is on this machine, and reads no artifact. None: the
        artifacts of this registration are not here. Rejected: the version failed or is pending; or its artifacts or
        evidence were refused when they were last downloaded, and it is described as it was then.
        """
        ...

    def fetch(self, model: str, version: int) -> ModelVersion:
        """Require READY, download the artifacts into the cache and digest them, whatever was fetched before.

        Rejected: missing, failed, pending.
        """
        ...

    def artifacts(self, model: str, version: int, digest: str) -> Path:
        """The directory with exactly these bytes, verified just now: from the cache, else downloaded.

        From the cache it works with the registry down. ArtifactsChanged: the registry now holds other bytes.
        """
        ...

    def evidence(self, model: str, version: int, environment: str) -> Evidence | None:
        """The gate's evidence recorded for this environment, downloaded if need be; None: none was recorded."""
        ...

    def metrics(self, model: str, version: int) -> Mapping[str, float]:
        """What was measured when the version was made, by name; for people to compare."""
        ...

    def lineage(self, model: str, version: int) -> Mapping[str, str]:
        """What made the version (run, parameters, data, code), by name; for people to compare."""
        ...

    def set_alias(self, model: str, alias: str, version: int | None) -> None:
        """Point the alias at the version; ``None`` deletes it."""
        ...

    def set_stage(self, model: str, version: int, stage: str) -> None:
        """Move one version to Staging, Production, Archived or None, and no other version with it."""
        ...


# Called while something waits; raises Interrupted to end the wait.
Stop = Callable[[], None]


def never() -> None:
    """Wait to the end."""


# What is done inside concerns one slot: an error there is that slot's, and ends nothing else.
Alone = Callable[[Slot], AbstractContextManager[object]]


class Target(Protocol):
    """Where model servers run. Several threads may act on different slots at once."""

    def observe(self) -> Sequence[Server]:
        """Every model server that is running and answering now, whoever started it."""
        ...

    def refusal(self, spec: ServerSpec) -> str:
        """Why a server cannot have what its pin asks for here, such as limits; empty: it can."""
        ...

    def unverified_packages(self, spec: ServerSpec) -> str:
        """What this version needs beside what Pinrail has, and lists without hashes, installed or not.

        Else as :meth:`missing_packages`.
        """
        ...

    def missing_packages(self, spec: ServerSpec) -> str:
        """What has to be installed before this version can be loaded here, for a person; empty: nothing.

        Its artifacts are on this machine. Rejected: it cannot be loaded here at all.
        """
        ...

    def install(self, spec: ServerSpec, stop: Stop = never) -> None:
        """Install it; :meth:`start` does too, where it is not there any more.

        VersionFailed: its packages do not go together, or cannot be built. Retryable: they cannot be had now.
        ``stop`` is asked while it takes.
        """
        ...

    def start(self, spec: ServerSpec, stop: Stop = never, at_once: int = 1) -> Server:
        """A healthy server with this spec and no traffic; one that is already there is returned as it is.

        Of its replicas, those that are not there are started, at most ``at_once`` at the same time.
        VersionFailed, with the last log lines, when it does not become healthy; Rejected when it cannot be started.
        ``stop`` is asked while it waits; the server that was begun may then be there, and is found again.
        """
        ...

    def switch(self, server: Server) -> None:
        """Give the slot's traffic to all replicas of this server without failing a request, or to none of them.

        Who had it becomes STANDBY. VersionFailed: a replica has ended. Rejected: its port is another slot's, or
        another program's.
        """
        ...

    def exchange(self, servers: Sequence[Server]) -> None:
        """Give each of these servers, one per slot, its slot's traffic in one step, though its port is another's.

        No port is closed for longer than a switch takes, and at no moment do two slots answer on one. Rejected:
        somebody's port cannot be had, or somebody has ended; nobody has moved. Cut short, it can be done again.
        """
        ...

    def retire(self, server: Server) -> None:
        """End a server after it has answered what it was asked. Gone already is fine.

        The live one of a slot is retired only when the slot is to be empty.
        """
        ...

    def how_ended(self, slot: Slot) -> str:
        """How servers of a slot ended that nobody retired, as far as that is known: once, a line for each."""
        ...

    def log_tail(self, server: Server) -> str:
        """The last lines of the server's log, and why it ended where the system knows, for a person to read."""
        ...


class Prober(Protocol):
    """Asks model servers questions over HTTP."""

    def require_example(self, spec: ServerSpec, artifacts: Path) -> None:
        """There is a request to prove such a server with, of the model's own. Else VersionFailed; asks no server."""
        ...

    def prove(self, server: Server, artifacts: Path) -> None:
        """Health names the exact version and digest, and the input example is answered. Else VersionFailed."""
        ...

    def watch(self, server: Server, seconds: float, stop: Stop = never) -> None:
        """VersionFailed as soon as the slot's public port stops answering as this server, within ``seconds``.

        Retryable: the port does not answer, and the server does. ``stop`` is asked between the questions.
        """
        ...


class Outbox(Protocol):
    """Messages that wait to be delivered."""

    def put(self, *messages: Message) -> None:
        """Store messages; committed when this returns."""
        ...

    def put_once(self, key: str, *messages: Message) -> bool:
        """Store messages unless some were stored under this key before; whether they are new."""
        ...


class Journal(Protocol):
    """The record of what was done to each slot. Methods that write have committed when they return.

    ``messages`` are stored in the same transaction as the entry, or not at all. Retryable: it cannot be written.
    """

    def composing(self) -> AbstractContextManager[object]:
        """Held while messages are computed from the journal and written with an entry: one thread at a time.

        Else each of two deployments that end at once would describe the other as running still.
        """
        ...

    def open(self, draft: Draft, messages: Sequence[Message] = ()) -> int:
        """Record that a deployment begins; returns its number."""
        ...

    def close(
        self,
        deployment: int,
        outcome: Outcome,
        reason: str = "",
        messages: Sequence[Message] = (),
        repeat_of: int | None = None,
    ) -> None:
        """Record how a deployment ended; with ``repeat_of``, as a repetition of that one, which counts it.

        Of an entry's repetitions only the last ones are kept; their number stays true.
        """
        ...

    def is_recorded(self, draft: Draft, hold: Hold) -> bool:
        """The last entry about the pin, healing aside, says the same; :meth:`hold` would record nothing."""
        ...

    def hold(self, draft: Draft, hold: Hold, messages: Sequence[Message] = ()) -> int | None:
        """Record that policy refused a pin, or lets it wait; None where that is recorded already."""
        ...

    def intend(self, deployment: int, seq: int, action: Action) -> None:
        """Record an action before it is taken, with the state that was found."""
        ...

    def result(self, deployment: int, seq: int, result: str) -> None:
        """Record what came of an action: ``done``, or the error."""
        ...

    def running(self) -> Sequence[Deployment]:
        """Deployments without an end."""
        ...

    def history(self, slot: Slot) -> Sequence[Deployment]:
        """Every deployment of one slot, oldest first."""
        ...

    def at(self, revision: str, environment: str) -> Sequence[Deployment]:
        """Every deployment of one environment at one commit, oldest first."""
        ...

    def recent(
        self, limit: int = 50, environment: str | None = None, model: str | None = None
    ) -> Sequence[Deployment]:
        """The last deployments of all slots, or of those of one environment or model; newest first."""
        ...

    def touched(self, slot: Slot) -> Sequence[Action]:
        """Every action begun in a slot since it was last verified, oldest first."""
        ...

    def verified(self) -> dict[Slot, Verified]:
        """The last verified state of every slot that has one."""
        ...

    def remember_pins(self, snapshot: Snapshot) -> None:
        """Keep the environment files of a commit whose pins are valid, in place of those before."""
        ...

    def remembered_pins(self) -> Snapshot | None:
        """The last environment files whose pins were valid."""
        ...

    def published(self) -> Mapping[str, PublishedStatus]:
        """The status published last for each environment's pins."""
        ...

    def publish(self, environment: str, status: PublishedStatus, messages: Sequence[Message]) -> None:
        """Record what is published for an environment's pins, with the messages that do so."""
        ...

    def quarantine(self, *entries: Quarantine, messages: Sequence[Message] = ()) -> None:
        """Do not try these versions again while the pin stays; with ``needs_human``, do not touch the slot at all."""
        ...

    def quarantined(self, revision: str | None = None, *, released: bool = False) -> Sequence[Quarantine]:
        """What is in quarantine, at one commit or at all, perhaps with what is not any more; newest first."""
        ...

    def taken_out(self, slot: Slot, version: int) -> Quarantine | None:
        """The last quarantine of one version in one slot, also one that was released."""
        ...

    def release(self, entry: Quarantine) -> None:
        """The slot is pinned in another way now: the quarantine stays on record, and holds nothing any more."""
        ...

    def lift(self, slot: Slot, version: int | None = None) -> None:
        """Forget the quarantine of one slot, or of one version there."""
        ...

    def freeze(self, entry: Freeze) -> None:
        """Let nothing new be deployed there."""
        ...

    def unfreeze(self, environment: str, model: str | None) -> bool:
        """Let new versions be deployed there again; False: it was not frozen."""
        ...

    def frozen(self) -> Sequence[Freeze]:
        """Where nothing new is deployed; newest first."""
        ...

    def keep(self, entry: KeptVersion) -> None:
        """Record how the files of a version were found on this machine."""
        ...

    def kept(self) -> Mapping[tuple[str, int, str], KeptVersion]:
        """The files that were checked, by model, version and digest."""
        ...

    def note_ways_back(self, found: Sequence[WayBack]) -> None:
        """Record how ready all slots are to go back, in place of what was recorded before."""
        ...

    def ways_back(self) -> Sequence[WayBack]:
        """How ready all slots were to go back at the last check."""
        ...

    def last_start(self, slot: Slot, version: int) -> float | None:
        """How many seconds a version's last start in a slot took; None: it is not on record."""
        ...

    def holds_version(self) -> object:
        """Differs from what it was before if a quarantine or a freeze came or went meanwhile."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A leased job. Its holder ends it with exactly one of done, retry and bury."""

    id: int
    causes: tuple[str, ...]  # of all requests that joined it, in order
    attempts: int  # started this many times, this time included
    crashes: int  # the receiver died this many times while it ran

    @property
    def cause(self) -> str:
        """All causes, joined by commas."""
        return ",".join(self.causes)


class Jobs(Protocol):
    """Requested fetches: at most one waits and at most one runs. Retryable: they cannot be written."""

    def enqueue(self, cause: str) -> int:
        """Request a fetch; returns the id of the job that will do it."""
        ...

    def claim(self) -> Job | None:
        """Lease the job that waits, if it is due and no other runs."""
        ...

    def done(self, job: Job, note: str = "") -> None:
        """End a job that was carried out."""
        ...

    def bury(self, job: Job, note: str) -> None:
        """End a job that cannot be carried out; a retry would not help."""
        ...

    def retry(self, job: Job, after_seconds: float, note: str) -> None:
        """Let a job wait and be tried again; where a newer one waits already, that one serves instead."""
        ...

    def recover(self) -> Job | None:
        """At start: queue the job that a receiver which died had leased."""
        ...

    def wait(self, seconds: float) -> None:
        """Return when a job was requested or is due, or after ``seconds`` (monotonic)."""
        ...

    def wake(self) -> None:
        """End a :meth:`wait`, also one that is about to begin."""
        ...


class Requests(Protocol):
    """Who asked for what."""

    def record(self, who: str, action: str, place: tuple[str, str], result: str) -> None:
        """Commit one. ``place``: environment and model, empty where it is about all of them."""
        ...


class ArtifactCache(Protocol):
    """The versions on this machine, or what was made for them."""

    def prune(self, in_use: Collection[str], unused_seconds: float, most_bytes: float) -> int:
        """Remove what is unused for that long, except of the digests ``in_use``, then what is over ``most_bytes``.

        Returns how many were removed.
        """
        ...
