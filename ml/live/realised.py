"""Realised metrics: how good the answers of a version were, by the labels that came later."""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from ml.gates.intervals import wilson
from ml.live.labels import Labelled, Realised

RESAMPLES, RESAMPLED_VALUES = 1000, 20_000_000
TRUE, FALSE = frozenset({"true", "1", "1.0"}), frozenset({"false", "0", "0.0"})
SHOWN = 3
MOST_CLASSES = 20  # of floats without probabilities
FEW_LABELS, KNOWN_SHARE = 20, 0.05


@dataclass(slots=True)
class _Version:
    """What is known of one version in one environment."""

    hits: int = 0
    rows: int = 0
    errors: list[float] = field(default_factory=list)
    values: set[float] = field(default_factory=set)
    unfit: int = 0
    again: int = 0


def measure(model: str, labelled: Sequence[Labelled]) -> Sequence[Realised]:
    """Measure each version of a model in each environment."""
    found: dict[tuple[str, int], _Version] = defaultdict(_Version)
    for each, held in _compared(labelled):
        seen = found[each.environment, each.version]
        if each.again:
            seen.again += each.count
        elif held is None:
            seen.unfit += each.count
        elif isinstance(held, bool):
            seen.rows += each.count
            seen.hits += each.count * held
        else:
            seen.errors += [held] * each.count
            seen.values.add(each.answer)
    return [each for (env, version), seen in found.items() for each in _metrics((env, model, version), seen)]


def unfit_labels(labelled: Sequence[Labelled]) -> Sequence[str]:
    """Some labels that cannot be compared with the answers. They may be about people: for who owns them only."""
    return sorted({each.label[:40] for each, held in _compared(labelled) if held is None and not each.again})[:SHOWN]


def agrees(answer: Any, label: str, classes: frozenset[str]) -> bool | None:
    """Whether an answer is what the label says; None: they cannot be compared.

    ``classes``: the texts that the model's versions have answered. A label that is written in another way, such as
    1 where the model answers yes, must not count as a wrong answer.
    """
    if isinstance(answer, bool):
        known = label.strip().lower()
        return answer is (known in TRUE) if known in TRUE | FALSE else None
    number = _number(label)
    if isinstance(answer, int | float):
        return None if number is None else number == answer
    if label in classes:
        return bool(label == answer)
    numbers = {_number(text) for text in classes}
    if number is not None and number in numbers:
        return number == _number(answer)
    folded = {text.strip().casefold() for text in classes}
    other_kind = numbers == {None} if number is not None else None not in numbers
    return None if other_kind or label.strip().casefold() in folded else False


def _compared(labelled: Sequence[Labelled]) -> Iterator[tuple[Labelled, bool | float | None]]:
    """Each row with whether its answer is right, or its error; None: the label cannot be compared with it."""
    classes = frozenset(_text(each.answer) for each in labelled if isinstance(each.answer, str))
    for _, of_version in groupby(labelled, lambda each: (each.environment, each.version)):
        held = [(row, _hold(row, classes)) for row in of_version]
        foreign = _foreign(
            [row for row, found in held if isinstance(found, bool) and not isinstance(row.answer, bool)]
        )
        yield from ((row, None if row.label in foreign else found) for row, found in held)


def _foreign(rows: Sequence[Labelled]) -> Collection[str]:
    """Labels that a version never answers, where they seem to be of another column, or of other words.

    They are where answers and labels together are more classes than have probabilities. Without probabilities:
    where almost no label is one that it answers.
    """
    answered = {_value(row.answer) for row in rows}
    foreign = {row.label for row in rows if _value(row.label) not in answered}
    classes = max((row.classes for row in rows), default=0)
    if classes:
        return foreign if len(answered | {_value(label) for label in foreign}) > classes else ()
    count, strange = (sum(r.count for r in rows if r.label in of) for of in ({r.label for r in rows}, foreign))
    return foreign if count >= FEW_LABELS and strange > count * (1 - KNOWN_SHARE) else ()


def _value(found: Any) -> Any:
    """An answer or a label, so that the same class is the same."""
    text = _text(found) if isinstance(found, str) else str(found)
    number = _number(text)
    return text if number is None else number


def _hold(row: Labelled, classes: frozenset[str]) -> bool | float | None:
    if not isinstance(row.answer, float) or row.classes:
        return agrees(_text(row.answer) if isinstance(row.answer, str) else row.answer, row.label, classes)
    number = _number(row.label)
    return None if number is None or not math.isfinite(row.answer) else row.answer - number


def _text(answer: str) -> str:
    """The answer itself: where a model's answers are of several types, a text is recorded as JSON."""
    try:
        text = json.loads(answer) if answer.startswith('"') else answer
    except ValueError:
        return answer
    return text if isinstance(text, str) else answer


def _metrics(of: tuple[str, str, int], seen: _Version) -> list[Realised]:
    unfit = f"{seen.unfit:,} labels cannot be compared with the answers" if seen.unfit else ""
    again = f"{seen.again:,} labels are left out, as their rows were asked several times under one id"
    problem, left_out = "; ".join(filter(None, (unfit, again if seen.again else ""))), seen.unfit + seen.again
    if seen.errors:
        found = _regression(seen.errors)
        if len(seen.values) <= MOST_CLASSES and all(value.is_integer() for value in seen.values):
            hits, rows = seen.errors.count(0), len(seen.errors)  # a classifier may write its classes as floats
            found.append(("accuracy", hits / rows, *wilson(hits, rows)))
        return [
            Realised(*of, name, value, low, high, len(seen.errors), left_out, problem)
            for name, value, low, high in found
        ]
    if not seen.rows:
        return [Realised(*of, "accuracy", None, None, None, 0, left_out, problem)]
    interval = wilson(seen.hits, seen.rows)
    return [Realised(*of, "accuracy", seen.hits / seen.rows, *interval, seen.rows, left_out, problem)]


def _regression(errors: Sequence[float]) -> list[tuple[str, float, float, float]]:
    """Return mae and rmse with their bootstrap intervals, which are the same for the same labels."""
    import numpy as np

    absolute = np.abs(np.array(errors))
    squared = np.square(absolute)
    random = np.random.default_rng(17)
    times = max(100, min(RESAMPLES, RESAMPLED_VALUES // len(errors)))
    drawn = []
    for _ in range(times):
        rows = random.integers(0, len(errors), len(errors))
        drawn.append((absolute[rows].mean(), math.sqrt(squared[rows].mean())))
    ends = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    values = {"mae": float(absolute.mean()), "rmse": math.sqrt(float(squared.mean()))}
    return [(name, value, float(ends[0][i]), float(ends[1][i])) for i, (name, value) in enumerate(values.items())]


def _number(text: str) -> float | None:
    known = {"true": "1", "false": "0"}.get(text.strip().lower(), text.strip())
    try:
        number = float(known)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    try:
        return int(known)  # exact, where a float is not
    except ValueError:
        return number
