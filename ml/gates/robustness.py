"""``robustness``: which share of the decisions flips when the input is slightly perturbed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.datasets.reference import is_measured
from ml.environment.gate_schema import RobustnessLimits
from ml.evidence import Verdict
from ml.gates.answers import Answers, Array
from ml.gates.judge import judge
from ml.gates.subject import Record, Subject

NOISE = 0.01  # of a column's standard deviation
SEED = 0
UNSEEN = "a category that nobody has seen"

# A regression "flips" where its answer moves by more than this share of the spread of its answers.
MOVED = 0.1


@dataclass(frozen=True, slots=True)
class Flips:
    """The effect of one perturbation on the decisions."""

    what: str
    share: float
    worst: str  # the row whose answer changes most, as text


def check(subject: Subject, limits: RobustnessLimits) -> Sequence[Verdict]:
    """Try noise, each field that may be missing, and an unseen text in each column; the worst of each kind counts."""
    tried = {"noise": (limits.noise, noise), "missing": (limits.missing, missing), "unseen": (limits.unseen, unseen)}
    verdicts = []
    for name, (limit, perturbations) in tried.items():
        if limit is None:
            continue
        flips = max(perturbations(subject), key=lambda f: f.share, default=Flips("no field to perturb", 0.0, ""))
        says = f"{flips.what}: {flips.share:.1%} of the decisions flip" + (f"; {flips.worst}" if flips.share else "")
        verdicts.append(judge(f"robustness.{name}", flips.share, limit, says))
    return verdicts


def noise(subject: Subject) -> Iterator[Flips]:
    """Move every measured number by about one percent of its column's spread, whole numbers by one."""
    random, features = np.random.default_rng(SEED), subject.data.features
    moved: dict[str, list[float | None]] = {}
    for name in (column.name for column in subject.columns if column.name in features):
        values = features[name]
        if not is_measured(values):
            continue
        if values.dtype.kind == "i":
            shaken = np.maximum(values + random.choice([-1, 1], len(values)), values.min())
        else:
            shaken = values + random.normal(0, NOISE * values.std(), len(values))
        moved[name] = [None if gone else v for v, gone in zip(shaken.tolist(), values.isna(), strict=True)]
    if moved:
        yield _flips(subject, f"a little noise on {', '.join(moved)}", moved)


def missing(subject: Subject) -> Iterator[Flips]:
    """Leave out, one after another, each field that the signature lets be missing."""
    rows = len(subject.records)
    for column in subject.columns:
        if not column.required:
            yield _flips(subject, f"without {column.name}", {column.name: [None] * rows})


def unseen(subject: Subject) -> Iterator[Flips]:
    """Put a text that training can't have known into each text column, one after another."""
    rows = len(subject.records)
    for column in subject.columns:
        if column.type == "string":
            yield _flips(subject, f"with an unseen {column.name}", {column.name: [UNSEEN] * rows})


def _flips(subject: Subject, what: str, changed: dict[str, list[Any]]) -> Flips:
    records = [
        {**record, **dict(zip(changed, values, strict=True))}
        for record, values in zip(subject.records, zip(*changed.values(), strict=True), strict=True)
    ]
    try:
        after = subject.predictor.predict_records(records)
    except Exception as error:  # noqa: BLE001 - whatever a model raises, there is no answer
        return Flips(what, 1.0, f"the model fails: {str(error).strip().splitlines()[0][:200]}")
    flipped, distance = _moved(subject.answers, after)
    row = int(np.argmax(distance))
    return Flips(what, float(flipped.mean()), _worst(subject, records[row], after, row))


def _moved(before: Answers, after: Answers) -> tuple[Array, Array]:
    """Say per row whether the decision flipped, and how far its answer moved (flipped rows before all others)."""
    if before.probabilities is None or after.probabilities is None:
        if before.labels.dtype.kind == "f":
            distance = np.abs(after.labels - before.labels)
            flipped = distance > MOVED * max(float(before.labels.std()), 1e-12)
            return flipped, distance
        flipped = before.labels != after.labels
        return flipped, flipped.astype(float)
    flipped = before.labels != after.labels
    return flipped, np.abs(after.probabilities - before.probabilities).max(axis=1) + flipped


def _worst(subject: Subject, record: Record, after: Answers, row: int) -> str:
    original = subject.records[row]
    now = {name: _short(value) for name, value in record.items() if original.get(name) != value}
    was = {name: _short(original.get(name)) for name in now}
    said = f"{subject.answers.shown(row)} becomes {after.shown(row)}"
    return f"worst at row {row}: {said} as {was} becomes {now}"


def _short(value: Any) -> Any:
    return round(value, 2) if isinstance(value, float) else value
