"""``champion``: whether the version is better than the live one by more than chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.environment.gate_schema import ChampionPolicy
from ml.evidence import CheckOutcome, Verdict
from ml.gates.answers import Answers, Array
from ml.gates.subject import Champion, Subject

RESAMPLES = 2000
SEED = 0
CONFIDENCE = (2.5, 97.5)  # percentiles: a 95 % interval
Z = 1.96
SMALLEST_SLICE = 30
MOST_CATEGORIES = 50


@dataclass(frozen=True, slots=True)
class Difference:
    """Challenger minus champion, per row, positive where the challenger is better."""

    mean: float
    low: float
    high: float
    rows: int
    spread: float  # standard deviation over the rows

    def rows_to_decide(self, target: float) -> int | None:
        """How many more such rows would show on which side of ``target`` the mean is; None: no number would."""
        distance = abs(self.mean - target)
        if distance == 0 or self.spread == 0:
            return None
        return max(0, math.ceil((Z * self.spread / distance) ** 2) - self.rows)


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows with one value of a column."""

    column: str
    value: str
    difference: Difference


def check(subject: Subject, policy: ChampionPolicy) -> Sequence[Verdict]:
    """Compare both on the same rows by a paired bootstrap: all rows first, then each named slice."""
    champion = subject.champion
    if champion is None:
        return _all_say(policy, CheckOutcome.PASS, 0.0, "no version is live here to compare with")
    if champion.answers is None:
        return _all_say(policy, CheckOutcome.INCONCLUSIVE, math.nan, champion.unanswered)
    own = _scores(subject, subject.answers, policy.metric)
    try:
        theirs = _scores(subject, champion.answers, policy.metric)
    except ValueError as error:  # a live version must not end the gate for every successor
        reason = incomparable(champion.name, subject.name, str(error))
        return _all_say(policy, CheckOutcome.INCONCLUSIVE, math.nan, reason)
    gains = own - theirs
    verdicts = [_overall(f"champion.{policy.metric}", difference(gains), policy, champion)]
    if policy.slices:
        verdicts.append(_slices(slices(subject, gains, policy.slices), policy))
    return verdicts


def _all_say(policy: ChampionPolicy, outcome: CheckOutcome, value: float, reason: str) -> Sequence[Verdict]:
    """Return the same verdict for the whole and, where slices are named, for them."""
    op = ">=" if outcome is CheckOutcome.PASS else "not known to be >="
    verdicts = [Verdict(f"champion.{policy.metric}", outcome, value, op, 0.0, reason)]
    if policy.slices:
        verdicts.append(Verdict("champion.slices", outcome, value, op, -policy.slice_margin, reason))
    return verdicts


def incomparable(champion: str, challenger: str, reason: str) -> str:
    """Say why the live version can't be compared with a new one, and what to do about it."""
    return (
        f"{champion}, which is live, can't be compared with {challenger}: {reason}; to replace it all the same,"
        " pin the new version with an `override`"
    )


def _scores(subject: Subject, answers: Answers, metric: str) -> Array:
    """Return, per row, how well a version does. ValueError: the metric needs what it lacks."""
    if metric == "accuracy":
        subject.classes(answers)
        return subject.right(answers).astype(float)
    if metric == "squared_error":
        true, said = subject.numbers(answers)
        return np.asarray(-np.square(true - said))
    return subject.log_shares(answers)


def difference(gains: Array) -> Difference:
    """Resample the rows with replacement, both versions together, and take the interval of the means."""
    random, rows = np.random.default_rng(SEED), len(gains)
    means = np.array([gains[random.integers(0, rows, rows)].mean() for _ in range(RESAMPLES)])
    low, high = (float(p) for p in np.percentile(means, CONFIDENCE))
    return Difference(float(gains.mean()), low, high, rows, float(gains.std()))


def slices(subject: Subject, gains: Array, columns: Sequence[str]) -> list[Slice]:
    """Compare within each category of each column. ValueError: no such column, or one with too many values."""
    found = []
    for column in columns:
        values = subject.categories(column)
        categories = sorted(set(values.tolist()))
        if len(categories) > MOST_CATEGORIES:
            raise ValueError(f"column {column} has {len(categories)} values; slices need categories")
        found += [Slice(column, value, difference(gains[values == value])) for value in categories]
    return found


def _overall(name: str, found: Difference, policy: ChampionPolicy, champion: Champion) -> Verdict:
    target = 0.0 if policy.require == "improve" else -policy.margin
    surely = found.low > target if policy.require == "improve" else found.low >= target
    significantly_below = found.high <= target if policy.require == "improve" else found.high < target
    outcome = CheckOutcome.PASS if surely else CheckOutcome.FAIL if significantly_below else CheckOutcome.INCONCLUSIVE
    says = f"against {champion.name}: {found.mean:+.4f}, 95 % interval {found.low:+.4f} to {found.high:+.4f}"
    if outcome is CheckOutcome.INCONCLUSIVE:
        more = found.rows_to_decide(target)
        says += (
            "; no number of rows would decide it" if more is None else f"; about {more:,} more rows would decide it"
        )
    return Verdict(name, outcome, found.mean, _relation(found.mean, target), target, says)


def _slices(found: Sequence[Slice], policy: ChampionPolicy) -> Verdict:
    """Judge the worst slice that is large enough; it fails if it is beyond the margin and significantly worse."""
    large = [s for s in found if s.difference.rows >= SMALLEST_SLICE]
    skipped = [f"{s.column}={s.value}" for s in found if s.difference.rows < SMALLEST_SLICE]
    note = f"; too few rows in {', '.join(skipped)}" if skipped else ""
    if not large:
        reason = f"no slice has {SMALLEST_SLICE} rows{note}"
        return Verdict("champion.slices", CheckOutcome.INCONCLUSIVE, 0.0, ">=", -policy.slice_margin, reason)
    worst = min(large, key=lambda s: s.difference.mean)
    gain, target = worst.difference, -policy.slice_margin
    outcome = CheckOutcome.PASS
    if gain.mean < target:
        outcome = CheckOutcome.FAIL if gain.high < 0 else CheckOutcome.INCONCLUSIVE
    says = (
        f"worst slice {worst.column}={worst.value} ({gain.rows:,} rows): {gain.mean:+.4f},"
        f" 95 % interval {gain.low:+.4f} to {gain.high:+.4f}{note}"
    )
    if outcome is CheckOutcome.INCONCLUSIVE and (more := gain.rows_to_decide(0.0)) is not None:
        says += f"; about {more:,} more such rows would decide it"
    return Verdict("champion.slices", outcome, gain.mean, _relation(gain.mean, target), target, says)


def _relation(value: float, target: float) -> str:
    return ">" if value > target else "<" if value < target else "=="
