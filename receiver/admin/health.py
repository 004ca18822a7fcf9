"""How well a state is: its colour, its group in the filter, and what comes first. Pure."""

from collections.abc import Iterable
from enum import StrEnum


class HealthGroup(StrEnum):
    """What a person filters by."""

    TROUBLE = "trouble"
    BUSY = "busy"
    HEALTHY = "healthy"


# The colour of each state; others are neutral.
TONES = {
    "in sync": "good",
    "live": "good",
    "done": "good",
    "accepted": "good",
    "running": "busy",
    "leased": "busy",
    "promote": "busy",
    "deploying": "busy",
    "healing": "warn",
    "rolling back": "warn",
    "degraded": "warn",
    "held": "warn",
    "unfetched": "busy",
    "drift": "warn",
    "waiting": "busy",
    "retry": "warn",
    "unknown": "warn",
    "interrupted": "warn",
    "remove": "busy",
    "refused": "bad",
    "rolled-back": "bad",
    "dead": "bad",
    "needs-human": "alarm",
    "PASS": "good",
    "FAIL": "bad",
    "INCONCLUSIVE": "warn",
}
NEUTRAL = "neutral"
_WORST_FIRST = ("alarm", "bad", "warn", "busy", NEUTRAL, "good")
_GROUPS = {
    "alarm": HealthGroup.TROUBLE,
    "bad": HealthGroup.TROUBLE,
    "warn": HealthGroup.TROUBLE,
    "busy": HealthGroup.BUSY,
}


def tone(state: str) -> str:
    """The colour of a state or an outcome."""
    return TONES.get(state, NEUTRAL)


def rank(state: str) -> int:
    """Its place in a list that begins with what needs attention most."""
    return _WORST_FIRST.index(tone(state))


def worst(states: Iterable[str]) -> str | None:
    """The state that needs attention most; None: there is none."""
    return min(states, key=rank, default=None)


def group(state: str) -> HealthGroup:
    """Where the filter has it."""
    return _GROUPS.get(tone(state), HealthGroup.HEALTHY)
