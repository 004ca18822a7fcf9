"""What was live where and when, as shapes for a picture; positions are percent of its width. Pure."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from receiver.core.deployment import DRIFT, Deployment, Outcome

DAY_SECONDS = 86_400.0
MONTH_DAYS = 30
DAYS_WRITTEN = 4  # a longer time is labelled with days alone
SHORTEST_SECONDS = 600.0
NARROWEST = 0.3  # percent: what lasted minutes is still seen
LABELLED = 3.0  # percent: a narrower span has no room for its version

# Outcomes that are a moment and not a stretch, with the word for them.
_MARKS: Mapping[Outcome, str] = {
    Outcome.ROLLED_BACK: "rolled-back",
    Outcome.NEEDS_HUMAN: "needs-human",
    Outcome.REFUSED: "refused",
    Outcome.WAITING: "waiting",
    Outcome.INTERRUPTED: "interrupted",
    Outcome.RUNNING: "running",
}

_Place = Callable[[float], float]
_Describe = Callable[[Deployment], str]


@dataclass(frozen=True, slots=True)
class LiveSpan:
    """A version that was live, and the deployment that made it so."""

    deployment: int
    version: int
    left: float
    width: float
    shaded: bool  # neighbours differ
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened: a rollback, a refusal, a restoration."""

    deployment: int
    kind: str
    left: float
    text: str


@dataclass(frozen=True, slots=True)
class Lane:
    """One environment."""

    environment: str
    spans: Sequence[LiveSpan]
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Timeline:
    """All environments of a model."""

    lanes: Sequence[Lane]
    ticks: Sequence[tuple[float, str]]
    days: int | None


def timeline(
    histories: Mapping[str, Sequence[Deployment]], days: int | None, now: float, describe: _Describe
) -> Timeline:
    """Draw the last days. ``histories``: by environment, oldest first; ``describe``: a line about a deployment.

    ``days`` None: as many as there is something to show of, at most a month.
    """
    begin = _begin(histories, now) if days is None else now - days * DAY_SECONDS

    def place(at: float) -> float:
        return round(min(100.0, max(0.0, (at - begin) / (now - begin) * 100)), 2)

    lanes = [
        Lane(environment, _spans(history, place, now, describe), _marks(history, begin, place, describe))
        for environment, history in histories.items()
    ]
    ticks = [begin + (now - begin) * share / 4 for share in range(5)]
    written = "%d %b" if now - begin > DAYS_WRITTEN * DAY_SECONDS else "%d %b %H:%M"
    return Timeline(lanes, [(place(at), time.strftime(written, time.localtime(at))) for at in ticks], days)


def _begin(histories: Mapping[str, Sequence[Deployment]], now: float) -> float:
    oldest = min((history[0].started_at for history in histories.values() if history), default=now)
    age = max(SHORTEST_SECONDS, (now - oldest) * 1.05)
    return now - min(age, MONTH_DAYS * DAY_SECONDS)


def _spans(history: Sequence[Deployment], place: _Place, now: float, describe: _Describe) -> list[LiveSpan]:
    changes: list[Deployment] = []
    for deployment in history:
        if deployment.state is Outcome.LIVE and deployment.ended_at is not None:
            before = changes[-1].draft.to_version if changes else None
            if deployment.draft.to_version != before:
                changes.append(deployment)
    found = []
    for number, (deployment, after) in enumerate(zip_longest(changes, changes[1:])):
        version, since = deployment.draft.to_version, deployment.ended_at
        until = after.ended_at if after is not None else now
        if version is None or since is None or until is None or place(until) <= 0:
            continue
        left = place(since)
        width = max(NARROWEST, round(place(until) - left, 2))
        label = f"v{version}" if width >= LABELLED else ""
        found.append(LiveSpan(deployment.id, version, left, width, bool(number % 2), label, describe(deployment)))
    return found


def _marks(history: Iterable[Deployment], begin: float, place: _Place, describe: _Describe) -> list[Mark]:
    found = []
    for deployment in history:
        restored = deployment.state is Outcome.LIVE and deployment.draft.cause == DRIFT
        kind = "restored" if restored else _MARKS.get(deployment.state)
        if kind is not None and deployment.started_at >= begin:
            found.append(Mark(deployment.id, kind, place(deployment.started_at), describe(deployment)))
    return found
