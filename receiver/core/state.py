"""What is true: model servers as they answer, the registry as it answers. Never read from our own database."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One place for one model: the (environment, model) that a pin fills."""

    environment: str
    model: str

    def __str__(self) -> str:
        return f"{self.environment}/{self.model}"


class Role(StrEnum):
    """What a running model server is doing."""

    CANDIDATE = "candidate"  # up, reachable privately, never had traffic
    LIVE = "live"  # answers on the slot's public port
    STANDBY = "standby"  # had traffic, is warm, can take it back at once


# Which of several servers with one spec to use.
USEFULNESS = (Role.LIVE, Role.STANDBY, Role.CANDIDATE)
# The parts of a spec that stand beside a pin, and may be changed without another version.
SETTINGS = ("port", "egress", "log", "replicas", "cpus", "memory_mb")


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """Everything a model server is started with. Two servers with equal specs are interchangeable."""

    slot: Slot
    version: int
    digest: str  # "sha256:<hex>" of the version's artifacts
    stage: str | None  # the registry stage that this environment projects, shown in /health
    port: int  # the slot's public port
    revision: str  # the commit whose merge started it, shown in /health
    egress: bool = False  # it may reach the internet, where the target can keep it from that
    log: str = ""  # what it records of its requests, as serving.inference_log.settings has it; empty: nothing
    replicas: int = 1  # how many processes or containers share its requests
    cpus: float = 0.0  # how many processors each of them may use; 0: what the target gives
    memory_mb: int = 0  # and how much memory

    def with_settings_of(self, other: "ServerSpec") -> "ServerSpec":
        """The same version with what stands beside the pin of another."""
        return replace(self, **{name: getattr(other, name) for name in SETTINGS})

    @property
    def limited(self) -> bool:
        """Its pin says what it may use."""
        return bool(self.cpus or self.memory_mb)

    def changes_from(self, before: "ServerSpec") -> str:
        """What people read about replicas and resources that ``before`` had otherwise: ``replicas 1 -> 3``."""
        said = {
            "replicas": (str(before.replicas), str(self.replicas)),
            "cpus": (_cpus(before), _cpus(self)),
            "memory": (_memory(before), _memory(self)),
        }
        return ", ".join(f"{name} {old} -> {new}" for name, (old, new) in said.items() if old != new)


@dataclass(frozen=True, slots=True)
class Server:
    """A running model server, as it described itself a moment ago: all its replicas, which have one role together."""

    id: str  # unique per start; names its log, its socket or its container
    spec: ServerSpec
    role: Role
    urls: tuple[str, ...]  # of each replica that answers, a base URL for the receiver alone
    differs: str = ""  # what about its way to the public port is not as the settings say; empty: nothing

    @property
    def missing(self) -> str:
        """``1 of 2 replicas`` where one does not answer; empty: all do."""
        wanted = self.spec.replicas
        return f"{len(self.urls)} of {wanted} replicas" if len(self.urls) < wanted else ""


def _cpus(spec: ServerSpec) -> str:
    return f"{spec.cpus:g}" if spec.cpus else "default"


def _memory(spec: ServerSpec) -> str:
    return f"{spec.memory_mb}m" if spec.memory_mb else "default"


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version as the registry describes it; of its artifacts that says only where they should be."""

    model: str
    version: int
    status: str  # READY, or why not: PENDING_REGISTRATION, FAILED_REGISTRATION
    status_message: str
    run_id: str | None
    source: str  # where the registry says that the artifacts are
    created: int  # milliseconds since the epoch, the registry's clock
    updated: int  # the same; a new stage or description changes it
    evidence: Mapping[str, str]  # environment -> SHA-256 of the text of its evidence


@dataclass(frozen=True, slots=True)
class RegistryView:
    """One registered model as the registry describes it: who is called what, and which stage each version has."""

    model: str
    aliases: Mapping[str, int]
    stages: Mapping[int, str]  # only versions whose stage is not "None"
    versions: Mapping[int, RegisteredVersion | None]  # those that were asked for; None: there is no such version
    newest: int | None = None  # the highest version number, where the registry names it
