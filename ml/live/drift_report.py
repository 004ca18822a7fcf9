"""What was found of live drift, as a file beside the logs: replaced whole, read by whoever shows it."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

FILE = "drift.json"


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How far one column of the live rows is from what trained the version."""

    column: str
    psi: float
    """Population stability index."""
    ks: float | None
    """Kolmogorov-Smirnov distance; null for texts and numbers of few values."""
    missing: float
    """Share of the live rows without a value."""
    missing_before: float
    """Share of the training rows without a value."""
    drifted: bool
    """One of them is beyond its limit."""


@dataclass(frozen=True, slots=True)
class SlotDrift:
    """The last day's rows of the version that serves in a slot."""

    environment: str
    model: str
    version: int
    rows: int
    """How many rows were compared."""
    psi_limit: float
    ks_limit: float | None
    """null: KS is not judged."""
    columns: Sequence[ColumnDrift]
    """The worst first; of many columns the worst 20."""
    compared: int
    """How many columns were compared."""
    predictions: Mapping[str, float]
    """The share of each answer, the most frequent ten; empty for numbers."""
    problem: str
    """Why nothing was compared; else empty."""
    at: float
    """When; seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class WatchedVersion:
    """A version that serves: where its files are, and what counts as drift."""

    environment: str
    model: str
    version: int
    path: str
    psi_limit: float
    ks_limit: float | None
    private: Sequence[str]  # columns of which hashes are recorded


def write(directory: Path, found: Sequence[SlotDrift]) -> None:
    """Replace the file in the directory of the inference logs."""
    new = directory / f".{FILE}.new"
    new.touch(mode=0o600)
    new.write_text(json.dumps([asdict(each) for each in found], allow_nan=False))
    new.replace(directory / FILE)


def read(directory: Path) -> Sequence[SlotDrift]:
    """What was found last; empty where nothing was, or the file is damaged."""
    try:
        raw: list[dict[str, Any]] = json.loads((directory / FILE).read_bytes())
        return [
            SlotDrift(**{**each, "columns": [ColumnDrift(**column) for column in each["columns"]]}) for each in raw
        ]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.warning("%s cannot be read: %s", directory / FILE, error)
        return []


def drift_line(found: SlotDrift) -> str:
    """The columns that have drifted, in words; empty where none has."""
    drifted = [column for column in found.columns if column.drifted]
    named = ", ".join(f"{column.column} (PSI {column.psi:.2f})" for column in drifted[:3])
    more = f" and {len(drifted) - 3} more" if len(drifted) > 3 else ""  # noqa: PLR2004 - as named
    return f"drift: {named}{more}" if drifted else ""


def finite(value: float) -> float:
    """JSON has no infinity."""
    return value if math.isfinite(value) else 1e9
