"""``replay``: how many of the answers that the live version gave would change.

The version answers the last rows of the inference log, which the live version was really asked about. No label is
needed, and nothing is asked of the live version again.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.datasets.request_log import PREDICTION, PROBABILITIES, RequestLog
from ml.environment.gate_schema import ReplayLimits
from ml.evidence import CheckOutcome, Verdict
from ml.gates.answers import Answers, Array
from ml.gates.contract import ELSEWHERE, Schema, as_recorded, recorded_columns
from ml.gates.intervals import Z, wilson
from ml.gates.robustness import MOVED
from ml.gates.subject import Champion, Record, Subject
from serving.model.model_dir import Column

DAYS = 365
LEAST_ROWS = 300
SMALLEST_SLICE = 30
Z_OF_SLICES = 3.0  # slices are many, and one of them is far off by chance
SHOWN = 5


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """A row that the live version was asked about, and what it answered."""

    name: str  # the request's id and the row's number, as `pinrail requests` shows them
    record: Record
    label: Any
    probabilities: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The last rows that this version can be asked about too, and why there are not more."""

    rows: Sequence[RecordedRow]
    refused: int  # that it would refuse
    private: frozenset[str]  # columns without which rows can't be asked again


def check(subject: Subject, limits: ReplayLimits) -> Sequence[Verdict]:
    """Compare the answers to the last ``rows`` rows: all of them, then by the categories of each named column."""
    champion = subject.champion
    if champion is None:
        return [_verdict(limits, CheckOutcome.PASS, 0.0, "no version is live here whose answers could change")]
    if subject.log is None or not champion.columns:
        reason = ELSEWHERE if subject.log is None else champion.unanswered
        return [_verdict(limits, CheckOutcome.INCONCLUSIVE, math.nan, reason)]
    found = recorded(subject.log, champion, subject.columns, limits.rows)
    if len(found.rows) < LEAST_ROWS:
        return [_verdict(limits, CheckOutcome.INCONCLUSIVE, math.nan, _too_few(champion, found))]
    before = Answers.of([row.label for row in found.rows], _table([row.probabilities for row in found.rows]))
    after = subject.predictor.predict_records([row.record for row in found.rows])
    if several := before.several or after.several:
        raise ValueError(several)
    flipped, distance, shift = compare(before, after)
    verdicts = [_overall(limits, champion, flipped, _says(found, (before, after), distance, shift))]
    if limits.slices:
        verdicts.append(_slices(limits, found.rows, flipped))
    return verdicts


def recorded(log: RequestLog, champion: Champion, columns: Sequence[Column], most: int) -> Recorded:
    """Read the last rows that the champion answered, newest first."""
    rows: list[RecordedRow] = []
    refused = 0
    private: set[str] = set()
    for table in log.answered(DAYS):
        known = recorded_columns(table, champion.columns)
        hidden = {c.name for c in columns if c.name not in known and c.name in {o.name for o in champion.columns}}
        if hidden:
            private |= hidden
            continue
        schema = Schema(columns, frozenset())
        for row in reversed(table.to_pylist()):
            if row["_version"] != champion.version:
                continue
            record = schema.taken(as_recorded(row, known))
            if schema.reasons(record):
                refused += 1
                continue
            name = f"{row['_request_id']}#{row['_row']}"
            rows.append(RecordedRow(name, record, row[PREDICTION], row[PROBABILITIES]))
            if len(rows) == most:
                return Recorded(rows, refused, frozenset())
    return Recorded(rows, refused, frozenset() if len(rows) >= LEAST_ROWS else frozenset(private))


def compare(before: Answers, after: Answers) -> tuple[Array, Array, float]:
    """Say per row whether the decision flips and how far the answer moves, and how far all move on average."""
    old, new = before.labels.tolist(), after.labels.tolist()
    flipped = np.array([a != b for a, b in zip(old, new, strict=True)])
    one, other = before.probabilities, after.probabilities
    if one is not None and other is not None and one.shape == other.shape:
        return flipped, np.abs(other - one).max(axis=1) + flipped, float((other - one)[:, -1].mean())
    if before.labels.dtype.kind == after.labels.dtype.kind == "f":
        moved = after.labels - before.labels
        flipped = np.abs(moved) > MOVED * max(float(before.labels.std()), 1e-12)
        return flipped, np.abs(moved), float(moved.mean())
    return flipped, flipped.astype(float), math.nan


def _overall(limits: ReplayLimits, champion: Champion, flipped: Array, says: str) -> Verdict:
    flips, rows, most = int(flipped.sum()), len(flipped), limits.flips.max
    low, high = wilson(flips, rows)
    share = flips / rows
    reason = (
        f"{flips:,} of the last {rows:,} answers of {champion.name} would change: {share:.2%},"
        f" 95 % interval {low:.2%} to {high:.2%}{says}"
    )
    if high <= most:
        return _verdict(limits, CheckOutcome.PASS, share, reason)
    if low > most:
        return _verdict(limits, CheckOutcome.FAIL, share, reason)
    if share != most:
        needed = math.ceil(Z**2 * max(share * (1 - share), most * (1 - most)) / (share - most) ** 2)
        if needed > rows:
            reason += f"; about {needed - rows:,} more rows would decide it"
    return _verdict(limits, CheckOutcome.INCONCLUSIVE, share, reason)


def _slices(limits: ReplayLimits, rows: Sequence[RecordedRow], flipped: Array) -> Verdict:
    """Judge the worst slice that is large enough: it fails if it is surely beyond the limit."""
    found: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row, flips in zip(rows, flipped.tolist(), strict=True):
        for column in limits.slices or ():
            found[column, str(row.record.get(column))].append(flips)
    large = {name: flips for name, flips in found.items() if len(flips) >= SMALLEST_SLICE}
    if not large:
        reason = f"no slice has {SMALLEST_SLICE} rows"
        return _verdict(limits, CheckOutcome.INCONCLUSIVE, math.nan, reason, "replay.slices")
    worst = max(
        large, key=lambda name: (wilson(sum(large[name]), len(large[name]), Z_OF_SLICES)[0], sum(large[name]))
    )
    flips, count = sum(large[worst]), len(large[worst])
    surely = wilson(flips, count, Z_OF_SLICES)[0] > limits.flips.max
    reason = f"worst slice {worst[0]}={worst[1]}: {flips:,} of {count:,} answers would change"
    outcome = CheckOutcome.FAIL if surely else CheckOutcome.PASS
    return _verdict(limits, outcome, flips / count, reason, "replay.slices")


def _verdict(
    limits: ReplayLimits, outcome: CheckOutcome, value: float, reason: str, name: str = "replay.flips"
) -> Verdict:
    most = limits.flips.max
    op = "not known to be <=" if math.isnan(value) else "<=" if value <= most else ">"
    return Verdict(name, outcome, value, op, most, reason)


def _too_few(champion: Champion, found: Recorded) -> str:
    if found.private:
        return f"rows can't be asked again, for the log leaves out or hashes {', '.join(sorted(found.private))}"
    says = (
        f"{len(found.rows):,} rows of {champion.name} are recorded, {LEAST_ROWS - len(found.rows):,} more are needed"
    )
    return says + (f"; {found.refused:,} more would be refused" if found.refused else "")


def _says(found: Recorded, answers: tuple[Answers, Answers], distance: Array, shift: float) -> str:
    before, after = answers
    largest = [row for row in np.argsort(-distance)[:SHOWN].tolist() if distance[row] > 0]
    named = (f"{found.rows[row].name} {before.labels[row]} -> {after.labels[row]}" for row in largest)
    says = "" if math.isnan(shift) else f"; scores move by {shift:+.4f} on average"
    says += f"; {found.refused:,} more would be refused" if found.refused else ""
    return says + (f"; largest: {', '.join(itertools.islice(named, SHOWN))}" if largest else "")


def _table(probabilities: Sequence[Sequence[float] | None]) -> Array | None:
    widths = {0 if row is None else len(row) for row in probabilities}
    return np.array(probabilities, dtype=float) if len(widths) == 1 and 0 not in widths else None
