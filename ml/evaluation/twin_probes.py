"""Rows on both sides of what a classifier can tell apart, where 32-bit arithmetic shows. Pure, but for asking it.

A tree's threshold, a bin's edge or any other step is found by bisection between the values that a column has, down to
two adjacent numbers. A smooth model has no steps, and gives no such rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
Ask = Callable[[pd.DataFrame], Array]

BASE_ROWS = 8
VALUES = 96  # of a column, at most, and as many between its ends
STEPS = 400  # that are followed, at most
HALVINGS = 80  # more than there are bits


@dataclass(frozen=True, slots=True)
class _Interval:
    """Two values of a column, in one row, whose answers differ."""

    row: int
    column: str
    low: Any
    high: Any


def probes(ask: Ask, rows: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """Return rows that lie a hair before and behind each step, and on the 32-bit numbers next to it.

    Args:
        ask: answers rows with probabilities, one per class.
        rows: training or evaluation rows, which say what values a column can have.
        tolerance: a difference of a probability that is no step.
    """
    base = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, BASE_ROWS).astype(int))].reset_index(drop=True)
    numeric = [name for name in rows if isinstance(rows[name].dtype, np.dtype) and rows[name].dtype.kind in "if"]
    wide = [
        _Interval(row, name, low, high)
        for name in numeric
        for values in [_values(rows[name])]
        for row in range(len(base))
        for low, high in pairwise(values)
    ]
    steps = _narrowed(ask, base, wide, tolerance)
    found = [
        _Interval(step.row, step.column, value, value)
        for step in steps
        for value in _beside(rows[step.column].dtype, step.low, step.high)
    ]
    return _with(base, found, [interval.low for interval in found])


def _values(column: pd.Series) -> list[Any]:
    known = np.unique(column.dropna().to_numpy())
    if len(known) == 0:
        return []
    picked = known[np.unique(np.linspace(0, len(known) - 1, VALUES).astype(int))]
    span = (known[-1] - known[0]) or 1
    between = np.linspace(float(known[0]) - float(span), float(known[-1]) + float(span), VALUES)
    return list(np.unique(np.concatenate([picked, between.astype(column.dtype)])))


def _narrowed(ask: Ask, base: pd.DataFrame, intervals: Sequence[_Interval], tolerance: float) -> list[_Interval]:
    """Halve intervals until their ends are adjacent; those whose ends come to differ by little enough are dropped."""
    low, high = (_answers(ask, base, intervals, end) for end in ("low", "high"))
    kept = [n for n, size in enumerate(_sizes(low, high)) if size > tolerance]
    kept = [kept[n] for n in np.unique(np.linspace(0, len(kept) - 1, STEPS).astype(int))] if kept else []
    intervals, low, high = [intervals[n] for n in kept], low[kept], high[kept]
    done: list[_Interval] = []
    for _ in range(HALVINGS):
        open_ = [n for n, i in enumerate(intervals) if _middle(i) not in (i.low, i.high)]
        done += [i for n, i in enumerate(intervals) if n not in set(open_)]
        if not open_:
            break
        intervals, low, high = [intervals[n] for n in open_], low[open_], high[open_]
        middles = [_middle(i) for i in intervals]
        said = ask(_with(base, intervals, middles))
        before = _sizes(low, said) > _sizes(said, high)
        intervals = [
            _Interval(i.row, i.column, i.low, m) if first else _Interval(i.row, i.column, m, i.high)
            for i, m, first in zip(intervals, middles, before, strict=True)
        ]
        low, high = np.where(before[:, None], low, said), np.where(before[:, None], said, high)
        steep = [n for n, size in enumerate(_sizes(low, high)) if size > tolerance]
        intervals, low, high = [intervals[n] for n in steep], low[steep], high[steep]
    return done


def _answers(ask: Ask, base: pd.DataFrame, intervals: Sequence[_Interval], end: str) -> Array:
    if not intervals:
        return np.empty((0, 1))
    return ask(_with(base, intervals, [getattr(interval, end) for interval in intervals]))


def _sizes(low: Array, high: Array) -> Array:
    return np.abs(low - high).max(axis=1) if len(low) else np.empty(0)


def _middle(interval: _Interval) -> Any:
    low, high = interval.low, interval.high
    if isinstance(low, np.integer):
        return type(low)(int(low) + (int(high) - int(low)) // 2)
    return type(low)(low + (high - low) / 2)


def _beside(dtype: Any, low: Any, high: Any) -> list[Any]:
    if dtype.kind == "i":
        return [low, high]
    single = [np.float32(low), np.float32(high)]
    around = [np.nextafter(single[0], np.float32(-np.inf)), *single, np.nextafter(single[1], np.float32(np.inf))]
    return [low, high, *(dtype.type(value) for value in around)]


def _with(base: pd.DataFrame, intervals: Sequence[_Interval], values: Sequence[Any]) -> pd.DataFrame:
    """One row per interval: the base row, and the value in its column."""
    made = base.iloc[[interval.row for interval in intervals]].reset_index(drop=True)
    for name in {interval.column for interval in intervals}:
        column = made[name].to_numpy(copy=True)
        for position, (interval, value) in enumerate(zip(intervals, values, strict=True)):
            if interval.column == name:
                column[position] = value
        made[name] = column
    return made
