"""A summary of the training data: enough of each column's distribution to detect drift.

It is stored in the model's directory, so the model's digest covers it. It holds quantiles and shares, no rows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml.errors import MlError
from serving.errors import UnsupportedModelError
from serving.model.small_files import REFERENCE, read_small

PATH = Path("pinrail") / "reference.json"

# Where MLflow puts a file of that name when it is handed to log_model as one of the extra_files.
EXTRA_FILE = Path("extra_files") / "reference.json"

# Numbers with no more distinct values than this are described like texts: flags and small counts.
FEW = 20
QUANTILES = 101


@dataclass(frozen=True, slots=True)
class Profile:
    """One column: either the quantiles of its numbers, or the share of each value."""

    quantiles: tuple[float, ...]  # empty for texts and for numbers of few values
    shares: Mapping[str, float]
    missing: float  # share of the rows


@dataclass(frozen=True, slots=True)
class Reference:
    """A summary of a model's training data."""

    digest: str  # of the training rows
    rows: int
    columns: Mapping[str, Profile]

    def to_json(self) -> str:
        """The form that lies in the model's directory."""
        columns = {
            name: {"quantiles": list(p.quantiles), "shares": dict(p.shares), "missing": p.missing}
            for name, p in self.columns.items()
        }
        return json.dumps({"digest": self.digest, "rows": self.rows, "columns": columns}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Reference":
        """Read what :meth:`to_json` wrote. ValueError: it is something else."""
        try:
            raw: dict[str, Any] = json.loads(text)
            columns = {
                str(name): Profile(
                    tuple(float(q) for q in p["quantiles"]),
                    {str(value): float(share) for value, share in p["shares"].items()},
                    float(p["missing"]),
                )
                for name, p in raw["columns"].items()
            }
            return cls(str(raw["digest"]), int(raw["rows"]), columns)
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a summary of training data: {error!r}") from error


def read_reference(path: Path) -> Reference | None:
    """Read what the version at ``path`` records of its training data. MlError: the record is unreadable."""
    file = next((place for place in (path / PATH, path / EXTRA_FILE) if place.is_file()), None)
    if file is None:
        return None
    try:
        return Reference.from_json(read_small(file, REFERENCE).decode())
    except (ValueError, UnsupportedModelError) as error:
        raise MlError(f"{file.relative_to(path)} of the version: {error}") from error


def describe(features: pd.DataFrame, digest: str) -> Reference:
    """Describe training rows; ``digest`` is theirs."""
    return Reference(digest, len(features), {str(name): _profile(features[name]) for name in features})


def is_measured(values: pd.Series) -> bool:
    """Say whether these are numbers with so many values that quantiles describe them."""
    return values.dtype.kind in "if" and values.nunique() > FEW


def shares_of(values: pd.Series) -> dict[str, float]:
    """Return the share of each value among those that are there; whole numbers read the same as int or float."""
    there = values.dropna()
    if there.dtype.kind == "f" and (there % 1 == 0).all():
        there = there.astype(np.int64)
    return {str(value): float(share) for value, share in there.value_counts(normalize=True).sort_index().items()}


def _profile(values: pd.Series) -> Profile:
    missing = float(values.isna().mean())
    if is_measured(values):
        quantiles = np.quantile(values.dropna(), np.linspace(0, 1, QUANTILES))
        return Profile(tuple(float(q) for q in quantiles), {}, missing)
    return Profile((), shares_of(values), missing)
