"""Realised metrics: how good the answers of a version were, by the labels that came later."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml.intervals import wilson
from ml.live.label_store import Labelled, Realised

RESAMPLES, RESAMPLED_VALUES = 1000, 20_000_000
TRUE, FALSE = frozenset({"true", "1", "1.0"}), frozenset({"false", "0", "0.0"})
SHOWN = 3


@dataclass(slots=True)
class _Version:
    """What is known of one version in one environment."""

    hits: int = 0
    rows: int = 0
    errors: list[float] = field(default_factory=list)
    unfit: int = 0


def measure(model: str, labelled: Sequence[Labelled]) -> Sequence[Realised]:
    """Measure each version of a model in each environment."""
    classes = _classes(labelled)
    found: dict[tuple[str, int], _Version] = defaultdict(_Version)
    for each in labelled:
        seen, held = found[each.environment, each.version], _hold(each, classes)
        if held is None:
            seen.unfit += each.count
        elif isinstance(held, bool):
            seen.rows += each.count
            seen.hits += each.count * held
        else:
            seen.errors += [held] * each.count
    return [each for (env, version), seen in found.items() for each in _metrics((env, model, version), seen)]


def unfit_labels(labelled: Sequence[Labelled]) -> Sequence[str]:
    """Some labels that cannot be compared with the answers. They may be about people: for who owns them only."""
    classes = _classes(labelled)
    return sorted({each.label[:40] for each in labelled if _hold(each, classes) is None})[:SHOWN]


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


def _classes(labelled: Iterable[Labelled]) -> frozenset[str]:
    return frozenset(_text(each.answer) for each in labelled if isinstance(each.answer, str))


def _hold(row: Labelled, classes: frozenset[str]) -> bool | float | None:
    """Whether the answer is right, or its error; None: the label cannot be compared with it."""
    if not isinstance(row.answer, float) or row.scored:
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
    problem = f"{seen.unfit:,} labels cannot be compared with the answers" if seen.unfit else ""
    if seen.errors:
        return [
            Realised(*of, name, value, low, high, len(seen.errors), seen.unfit, problem)
            for name, value, low, high in _regression(seen.errors)
        ]
    if not seen.rows:
        return [Realised(*of, "accuracy", None, None, None, 0, seen.unfit, problem)]
    interval = wilson(seen.hits, seen.rows)
    return [Realised(*of, "accuracy", seen.hits / seen.rows, *interval, seen.rows, seen.unfit, problem)]


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
