"""What a commit's deployments amount to, in the four words that a commit status knows. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from receiver.core.deployment import DRIFT, Deployment, Outcome
from receiver.core.messages import StatusState
from receiver.core.redact import plain
from receiver.core.state import Slot

UNFINISHED = frozenset({Outcome.WAITING, Outcome.INTERRUPTED})

_STATES: Mapping[Outcome, StatusState] = {
    Outcome.LIVE: "success",
    Outcome.RUNNING: "pending",
    Outcome.WAITING: "pending",
    Outcome.INTERRUPTED: "pending",
    Outcome.REFUSED: "failure",
    Outcome.ROLLED_BACK: "failure",
    Outcome.NEEDS_HUMAN: "error",
}
_SENTENCES = {
    Outcome.LIVE: "{what} is live",
    Outcome.RUNNING: "{what} is being deployed",
    Outcome.WAITING: "{what} waits: {why}",
    Outcome.INTERRUPTED: "{what} was interrupted, and goes on by itself: {why}",
    Outcome.REFUSED: "{what} was refused: {why}",
    Outcome.ROLLED_BACK: "{what} was rolled back: {why}",
    Outcome.NEEDS_HUMAN: "{what} NEEDS A HUMAN: {why}",
}
NAMED = 10  # GitHub shows 140 characters of them, and each pin of a commit makes such a sentence
_WORST_FIRST: Sequence[StatusState] = ("error", "failure", "pending", "success")


@dataclass(frozen=True, slots=True)
class PinStatus:
    """How the pin of one slot stands at one commit."""

    slot: Slot
    version: int | None  # None: the pin is gone
    outcome: Outcome
    reason: str = ""

    def __str__(self) -> str:
        """One line for a person."""
        model = self.slot.model
        if self.version is None and self.outcome is Outcome.LIVE:
            return f"{model} is served no more"
        what = model if self.version is None else f"{model} v{self.version}"
        return _SENTENCES[self.outcome].format(what=what, why=plain(self.reason.partition("\n")[0]))


def pin_statuses(
    deployments: Iterable[Deployment], held: Mapping[Slot, PinStatus], found: Iterable[PinStatus] = ()
) -> list[PinStatus]:
    """How each slot stands at a commit, after these of its deployments (oldest first) and what is held there.

    ``found`` says it of slots for which nothing was deployed. Healing says nothing about the pin: what heals may be
    the version before it. Unless it fails.
    """
    pins: dict[Slot, PinStatus] = {}
    healed: dict[Slot, PinStatus] = {}
    unhealthy: dict[Slot, PinStatus] = {}
    for deployment in deployments:
        draft = deployment.draft
        status = PinStatus(draft.slot, draft.to_version, deployment.state, deployment.reason)
        unhealthy.pop(draft.slot, None)
        if draft.cause != DRIFT:
            pins[draft.slot] = status
        else:
            (unhealthy if deployment.state is Outcome.NEEDS_HUMAN else healed)[draft.slot] = status
    return list({**healed, **{s.slot: s for s in found}, **pins, **unhealthy, **held}.values())


@dataclass(frozen=True, slots=True)
class PublishedStatus:
    """The status published last for one environment's pins."""

    revision: str  # the commit that it is about
    pins: str  # a digest of the pins, or of what is wrong with them
    pending: str = ""  # a digest of what they wait for; empty: the status is final


def context_of(environment: str) -> str:
    """The name of an environment's commit status."""
    return f"pinrail/{environment}"


def aggregate(found: Iterable[PinStatus]) -> tuple[StatusState, str]:
    """One state and one sentence for all models of an environment: the worst decides, and is named first."""
    ordered = sorted(found, key=lambda s: (_WORST_FIRST.index(state_of(s.outcome)), s.slot.environment, s.slot.model))
    if not ordered:
        return "success", "no model is pinned here"
    more = [f"and {len(ordered) - NAMED} more"] if len(ordered) > NAMED else []
    return state_of(ordered[0].outcome), "; ".join([*map(str, ordered[:NAMED]), *more])


def state_of(outcome: Outcome) -> StatusState:
    """The commit status of one outcome."""
    return _STATES[outcome]


def superseded(history: Sequence[Deployment], revision: str) -> list[Deployment]:
    """The unfinished attempts at earlier commits that this commit takes over from, newest first, one per commit.

    ``history`` is one slot's, oldest first.
    """
    found: dict[str, Deployment] = {}
    for deployment in reversed(history):
        if deployment.draft.revision == revision:
            continue
        if deployment.state not in UNFINISHED:
            break
        found.setdefault(deployment.draft.revision, deployment)
    return list(found.values())
