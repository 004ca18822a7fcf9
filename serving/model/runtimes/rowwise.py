"""Whether an estimator's answer to a row can't depend on the rows beside it: only then may requests be merged.

It is taken for granted of libraries whose code is known, and of nothing else: a function of the model's own sees the
whole table.
"""

import functools
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np

KNOWN = frozenset({"sklearn", "lightgbm", "xgboost", "catboost"})
# Of scikit-learn, but solved for all rows together.
WHOLE_TABLE = frozenset({"NMF", "MiniBatchNMF", "LatentDirichletAllocation", "IterativeImputer"})
FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, functools.partial)


def answers_row_by_row(estimator: Any) -> bool:
    """Every part of the estimator is known to answer each row by itself."""
    waiting, seen = [estimator], set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if not _is_known(part):
            return False
        waiting += [inner for value in vars(part).values() for inner in _estimators(value)]
    return True


def _is_known(part: Any) -> bool:
    kind = type(part)
    if kind.__module__.split(".")[0] not in KNOWN or kind.__name__ in WHOLE_TABLE:
        return False
    if kind.__name__ == "FunctionTransformer":
        return part.func is None or isinstance(part.func, np.ufunc)
    params = part.get_params(deep=False) if hasattr(part, "get_params") else {}
    return not any(isinstance(value, FUNCTIONS) for value in params.values())


def _estimators(value: Any) -> Iterator[Any]:
    """What can be fitted in a value: itself, or what a list, a tuple, a dict or an array of objects holds."""
    if hasattr(value, "get_params") and not isinstance(value, type):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _estimators(inner)
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for inner in value:
            yield from _estimators(inner)
