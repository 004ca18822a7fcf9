"""``fairness``: whether the groups of a sensitive column get similar decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ml.environment.gate_schema import FairnessLimits
from ml.evidence import CheckOutcome, Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject

SMALLEST_GROUP = 30  # below, a rate says little


@dataclass(frozen=True, slots=True)
class Group:
    """The rows with one value of a sensitive column."""

    value: str
    rows: int
    selected: float  # share that is decided positive
    right: float  # share that is decided right


def check(subject: Subject, limits: FairnessLimits) -> Sequence[Verdict]:
    """Measure each named column by itself; a group that is too small makes it INCONCLUSIVE."""
    from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

    positive = subject.positive_class()
    true, said = subject.truth() == positive, subject.answers.labels == positive
    verdicts = []
    for column in limits.columns:
        sensitive = subject.categories(column)
        found = groups(subject, column)
        says = ", ".join(f"{g.value}: {g.selected:.0%} of {g.rows:,} decided positive" for g in found)
        says = f"{says}; {subject.positive_says()}"
        measured = {
            "demographic_parity": (limits.demographic_parity, demographic_parity_difference),
            "equalized_odds": (limits.equalized_odds, equalized_odds_difference),
        }
        for name, (limit, difference) in measured.items():
            if limit is not None:
                value = float(difference(true, said, sensitive_features=sensitive))
                verdict = judge(f"fairness.{column}.{name}", value, limit, says)
                verdicts.append(_unless_too_small(verdict, found))
    return verdicts


def groups(subject: Subject, column: str) -> list[Group]:
    """Return the groups of a column and how each is decided. ValueError: no such column."""
    sensitive, positive = subject.categories(column), subject.positive_class()
    said, right = subject.answers.labels == positive, subject.right()
    found = []
    for value in sorted(set(sensitive.tolist())):
        rows = sensitive == value
        found.append(Group(value, int(rows.sum()), float(said[rows].mean()), float(right[rows].mean())))
    return found


def _unless_too_small(verdict: Verdict, found: Sequence[Group]) -> Verdict:
    smallest = min(found, key=lambda g: g.rows)
    if smallest.rows >= SMALLEST_GROUP:
        return verdict
    reason = f"only {smallest.rows} rows of {smallest.value}: {SMALLEST_GROUP} are needed"
    return replace(verdict, outcome=CheckOutcome.INCONCLUSIVE, reason=f"{reason} ({verdict.reason})")
