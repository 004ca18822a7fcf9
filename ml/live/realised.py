"""Realised metrics: how good the answers of a version were, by the labels that came later."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml.intervals import wilson
from ml.live.label_store import Realised

RESAMPLES, RESAMPLED_VALUES = 1000, 20_000_000
TRUE, FALSE = frozenset({"true", "1", "1.0"}), frozenset({"false", "0", "0.0"})
SHOWN = 3


@dataclass(slots=True)
class _Version:
    """What is known of one version in one environment."""

    right: list[bool] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)


def measure(model: str, labelled: Iterable[tuple[str, int, bool, Any, str]]) -> Sequence[Realised]:
    """Measure each version of a model in each environment, as :meth:`LabelStore.labelled` yields its answers."""
    rows = list(labelled)
    texts = frozenset(answer for *_, answer, _ in rows if isinstance(answer, str))
    found: dict[tuple[str, int], _Version] = defaultdict(_Version)
    for environment, version, scored, answer, label in rows:
        seen = found[environment, version]
        if isinstance(answer, float) and not scored:
            error = _number(label)
            if error is None or not math.isfinite(answer):
                seen.unfit.append(label)
            else:
                seen.errors.append(answer - error)
        elif (is_right := agrees(answer, label, texts)) is None:
            seen.unfit.append(label)
        else:
            seen.right.append(is_right)
    return [each for (env, version), seen in found.items() for each in _metrics((env, model, version), seen)]


def agrees(answer: Any, label: str, classes: frozenset[str]) -> bool | None:
    """Whether an answer is what the label says; None: they cannot be compared.

    ``classes``: the texts that the model's versions have answered. A label that is written in another way, such as
    1 where the model answers yes, must not count as a wrong answer.
    """
    if isinstance(answer, bool):
        known = label.strip().lower()
        return answer is (known in TRUE) if known in TRUE | FALSE else None
    if isinstance(answer, int | float):
        number = _number(label)
        return None if number is None else number == answer
    if label in classes:
        return bool(label == answer)
    folded = {text.strip().casefold() for text in classes}
    numeric = _number(label) is not None and all(_number(text) is None for text in classes)
    return None if numeric or label.strip().casefold() in folded else False


def _metrics(of: tuple[str, str, int], seen: _Version) -> list[Realised]:
    problem = ""
    if seen.unfit:
        written = ", ".join(repr(text) for text in sorted({text[:40] for text in seen.unfit})[:SHOWN])
        problem = f"{len(seen.unfit):,} labels cannot be compared with the answers, such as {written}"
    if seen.errors:
        return [
            Realised(*of, name, value, low, high, len(seen.errors), len(seen.unfit), problem)
            for name, value, low, high in _regression(seen.errors)
        ]
    if not seen.right:
        return [Realised(*of, "accuracy", None, None, None, 0, len(seen.unfit), problem)]
    hits, rows = sum(seen.right), len(seen.right)
    return [Realised(*of, "accuracy", hits / rows, *wilson(hits, rows), rows, len(seen.unfit), problem)]


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
    known = text.strip().lower()
    try:
        number = float({"true": "1", "false": "0"}.get(known, known))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
