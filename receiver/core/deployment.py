"""One run of the flow for one slot: what it was for, how it ended, and what its history says. Pure."""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from receiver.core.plan import Action
from receiver.core.state import Slot

CRASH_WINDOW_SECONDS = 600.0
CRASH_LOOP = 3  # a server that was started anew so often within the window is degraded


class Trigger(StrEnum):
    """Why a deployment was made."""

    REQUEST = "request"  # a push, the timer, a person or a start asked for it
    DRIFT = "drift"  # what was verified before is restored
    POLICY = "policy"  # nothing was deployed: policy holds the pin


@dataclass(frozen=True, slots=True)
class Cause:
    """A trigger and, of a request, who asked: ``push,timer (history rewritten)``."""

    trigger: Trigger
    detail: str = ""

    def __str__(self) -> str:
        return self.detail or self.trigger

    @classmethod
    def read(cls, text: str) -> Self:
        """The cause that is written as ``text``."""
        if text in (Trigger.DRIFT, Trigger.POLICY):
            return cls(Trigger(text))
        return cls(Trigger.REQUEST, text)


DRIFT = Cause(Trigger.DRIFT)


class Outcome(StrEnum):
    """How a deployment ended, or that it has not yet."""

    RUNNING = "running"
    LIVE = "live"  # proven, switched, watched: this is what "verified" means
    ROLLED_BACK = "rolled-back"  # did not hold; the last verified state is back
    REFUSED = "refused"  # policy said no before the first write
    WAITING = "waiting"  # policy says not yet
    INTERRUPTED = "interrupted"  # it gave way, or the outside was not ready; it goes on by itself
    NEEDS_HUMAN = "needs-human"  # neither new nor old could be reached; held

    @property
    def terminal(self) -> bool:
        """Nothing more will happen to this deployment."""
        return self is not Outcome.RUNNING


@dataclass(frozen=True, slots=True)
class Draft:
    """A deployment before it has a number. Versions are None where there is nothing."""

    slot: Slot
    from_version: int | None
    to_version: int | None
    digest: str | None
    revision: str  # commit
    cause: Cause
    override: str | None = None  # the reason beside the pin, where gate and soak were waived
    plan: Sequence[Action] = ()
    down_since: float | None = None  # when the server that this starts anew was last seen alive
    port: int | None = None  # where its server is to serve


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment as recorded. Times are seconds since the epoch."""

    id: int
    draft: Draft
    state: Outcome
    reason: str
    started_at: float
    ended_at: float | None  # of the last repetition, where there are some
    repeats: int = 0  # how often it was tried again since, and ended in the same way


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a deployment as recorded. ``result`` None: it was begun, and no end was recorded."""

    action: Action
    started_at: float
    ended_at: float | None
    result: str | None


@dataclass(frozen=True, slots=True)
class Verified:
    """The last state of a slot that was proven live."""

    version: int | None  # None: proven empty, the pin had been removed
    digest: str | None
    revision: str
    at: float  # seconds since the epoch
    port: int | None = None  # where it served; None: nowhere, or that was not recorded then


def with_entry(recorded: Iterable[Deployment], entry: Deployment) -> list[Deployment]:
    """The record with one entry as it will be written: in its place, or at the end where it is new."""
    found = [entry if deployment.id == entry.id else deployment for deployment in recorded]
    return found if entry in found else [*found, entry]


def verified_at(history: Iterable[Deployment], when: float) -> Verified | None:
    """What was verified live in a slot at a time; ``history`` is that slot's, oldest first."""
    found = None
    for deployment in history:
        if deployment.state is Outcome.LIVE and deployment.ended_at is not None and deployment.ended_at <= when:
            draft = deployment.draft
            found = Verified(draft.to_version, draft.digest, draft.revision, deployment.ended_at, draft.port)
    return found


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """The files of a version on this machine, as they were last checked."""

    model: str
    version: int
    digest: str
    at: float  # seconds since the epoch
    problem: str  # why they are not here; empty: every byte was verified


@dataclass(frozen=True, slots=True)
class WayBack:
    """The version that a slot would go back to. Published as it is."""

    environment: str
    model: str
    version: int
    ready: bool
    """Its files are here, and every byte was verified."""
    verified: str | None
    """When that was; ISO 8601, UTC."""
    start_seconds: float | None
    """How long its last start here took, from the verified files to the first answer; null: not measured."""
    problem: str
    """What is missing; else empty."""

    def __str__(self) -> str:
        if not self.ready:
            return f"v{self.version} is not ready: {self.problem}"
        took = "" if self.start_seconds is None else f" in about {self.start_seconds:.1f} s, as it started here last"
        return f"v{self.version}{took}; its files are here, verified {self.verified}"


def last_verified(history: Iterable[Deployment], without: Collection[int | None] = ()) -> Verified | None:
    """The last version that was verified live in a slot, apart from some; ``history`` is the slot's, oldest first."""
    passed_over = {None, *without}
    return verified_at((d for d in history if d.draft.to_version not in passed_over), math.inf)


def restarts(history: Sequence[Deployment], after: float) -> list[Deployment]:
    """How often a slot's server ended and was started anew since a time; newest first.

    ``history`` is the slot's, oldest first. What was deployed since begins it anew.
    """
    found = []
    for deployment in reversed(history):
        if deployment.started_at < after or deployment.draft.cause != DRIFT:
            break
        if deployment.draft.down_since is not None:
            found.append(deployment)
    return found


def hindrance(history: Sequence[Deployment]) -> str:
    """Why the last attempt in a slot came to nothing, though it is tried again. ``history``: oldest first."""
    again = (Outcome.INTERRUPTED, Outcome.NEEDS_HUMAN)  # of a restoration; else the slot is held, and says so
    return history[-1].reason if history and history[-1].state in again else ""


def is_degraded(history: Sequence[Deployment], now: float) -> bool:
    """A slot's server ends again and again; ``history`` is the slot's, oldest first."""
    return len(restarts(history, now - CRASH_WINDOW_SECONDS)) >= CRASH_LOOP


def longest_live(history: Iterable[Deployment], version: int, digest: str, now: float) -> tuple[float, float | None]:
    """How long these bytes have served without another version between, at best, and since when they do now.

    ``history`` is one slot's, oldest first. Only the time that they were served counts: a server that ended and was
    started again does not break the stretch, but the time without it moves its start. A time when neither it nor
    another could be kept alive begins it anew.

    Returns:
        (longest stretch in seconds, start of the present stretch or None where it is not live now).
    """
    longest, since = 0.0, None
    for deployment in history:
        if deployment.state not in (Outcome.LIVE, Outcome.NEEDS_HUMAN) or deployment.ended_at is None:
            continue
        failed = deployment.state is Outcome.NEEDS_HUMAN
        same = not failed and (deployment.draft.to_version, deployment.draft.digest) == (version, digest)
        if since is None:
            since = deployment.ended_at if same else None
        elif not same:
            longest = max(longest, deployment.ended_at - since)
            since = deployment.ended_at if failed else None
        elif deployment.draft.down_since is not None:
            since += max(0.0, deployment.ended_at - max(deployment.draft.down_since, since))
    if since is not None:
        longest = max(longest, now - since)
    return longest, since
