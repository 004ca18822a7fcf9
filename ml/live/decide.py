"""Judging live versions by their labels, as ``policy.live`` in the environment file asks."""

from collections.abc import Iterable
from dataclasses import dataclass

from ml.evidence import CheckOutcome
from ml.live.label_store import LabelStore
from ml.live.labels import Decision, Realised
from ml.live.sequential import ShareTest, judge_share

ACCURACY = "accuracy"
MOST_LEFT_OUT = 0.1  # of all labels; where more do not fit the answers, the others may not either


@dataclass(frozen=True, slots=True)
class Asked:
    """What one environment asks of the version that serves there."""

    environment: str
    model: str
    version: int
    least: float
    labels: int  # not decided before so many


def decide(store: LabelStore, asked: Iterable[Asked]) -> None:
    """Judge each version that has labels, and record it."""
    trimmed = store.trimmed()
    for each in asked:
        if (each.environment, each.model, each.version) in trimmed:  # what is left is no sequence from the beginning
            continue
        for found in store.realised(each.model):
            of = found.environment, found.version, found.metric
            if of == (each.environment, each.version, ACCURACY):
                store.decide(_decision(each, found, found.value or 0.0))


def _decision(asked: Asked, found: Realised, value: float) -> Decision:
    of = asked.environment, asked.model, asked.version, ACCURACY, asked.least
    if found.unfit > MOST_LEFT_OUT * (found.labels + found.unfit):
        return Decision(*of, str(CheckOutcome.INCONCLUSIVE), None, f"{found.problem}: too many to decide")
    test = judge_share(round(value * found.labels), found.labels, asked.least, asked.labels)
    return Decision(*of, str(test.outcome), test.more, _says(asked, found, value, test))


def _says(asked: Asked, found: Realised, value: float, test: ShareTest) -> str:
    figures = (
        f"{round(value * found.labels):,} of {found.labels:,} labelled answers are right: accuracy {value:.4f},"
        f" surely between {test.low:.4f} and {test.high:.4f}"
    )
    if test.outcome is CheckOutcome.INCONCLUSIVE:
        needed = "too many to say" if test.more is None else f"about {test.more:,}"
        return f"{figures}; whether it is at least {asked.least:g} takes {needed} more labels"
    return f"{figures}; {asked.least:g} is asked for"
