"""``python -m ml.live.drift LOGS``: compare the last day's rows of live versions with what trained them.

The receiver runs it as a program of its own, which gives its memory back. Standard input: a JSON list of versions,
each the fields of ``WatchedVersion``. The result is written beside the logs.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ml.datasets.reference import Profile, read_reference
from ml.datasets.request_log import PREDICTION, RequestLog, column_of, slot_directory
from ml.errors import MlError
from ml.gates.contract import HASH
from ml.gates.drift import BINS, distance
from ml.live.drift_report import ColumnDrift, SlotDrift, WatchedVersion, finite, write

DAYS = 1.0
MOST_ROWS = 50_000
LEAST_ROWS = 300
ROWS_PER_BIN = 20  # with fewer, chance alone moves a column of many values: PSI is then about bins / rows
SHOWN, SHOWN_ANSWERS = 20, 10
MISSING_LIMIT = 0.1  # more or less missing than in training by this share of the rows


def compare(watched: WatchedVersion, log: RequestLog) -> SlotDrift:
    """Compare what one version was asked with its training data."""
    rows = _rows(log, watched.version)
    columns: list[ColumnDrift] = []
    problem = ""
    try:
        reference = read_reference(Path(watched.path))
        if reference is None:
            problem = "the version has no record of its training data"
        elif len(rows) < LEAST_ROWS:
            problem = f"{len(rows):,} rows in the last day, {LEAST_ROWS} are needed"
        else:
            columns = _columns(watched, reference.columns, rows)
    except (MlError, OSError, ValueError, TypeError) as error:
        problem = f"its training data cannot be compared: {error}"
    columns.sort(key=lambda column: (column.drifted, column.psi), reverse=True)
    return SlotDrift(
        environment=watched.environment,
        model=watched.model,
        version=watched.version,
        rows=len(rows),
        psi_limit=watched.psi_limit,
        ks_limit=watched.ks_limit,
        columns=columns[:SHOWN],
        compared=len(columns),
        predictions=_predictions(rows),
        problem=problem,
        at=time.time(),
    )


def _rows(log: RequestLog, version: int) -> pd.DataFrame:
    found, count = [], 0
    for table in log.answered(DAYS):
        frame = table.to_pandas()
        frame = frame[frame["_version"] == version]
        if len(frame):
            found.append(frame)
            count += len(frame)
        if count >= MOST_ROWS:
            break
    return pd.concat(found, ignore_index=True).head(MOST_ROWS) if found else pd.DataFrame()


def _columns(watched: WatchedVersion, profiles: Mapping[str, Profile], rows: pd.DataFrame) -> list[ColumnDrift]:
    found = []
    for name, profile in profiles.items():
        column = column_of(name)
        bins = BINS if profile.quantiles else len(profile.shares)
        if name in watched.private or column not in rows or len(rows) < max(LEAST_ROWS, ROWS_PER_BIN * bins):
            continue
        values = rows[column]
        if _is_hashed(values) or (profile.quantiles and values.dropna().map(type).eq(str).any()):
            continue
        psi, ks = distance(profile, values if not profile.quantiles else values.astype(float))
        missing = float(values.isna().mean())
        beyond = psi > watched.psi_limit or (ks or 0.0) > (watched.ks_limit or 1.0)
        beyond |= abs(missing - profile.missing) > MISSING_LIMIT
        found.append(ColumnDrift(name, finite(psi), ks, missing, profile.missing, bool(beyond)))
    return found


def _is_hashed(values: pd.Series) -> bool:
    """What was recorded before the column was taken off the list of hashed ones is no value of the model's."""
    texts = () if pd.api.types.is_numeric_dtype(values) else values
    return any(isinstance(value, str) and HASH.fullmatch(value) for value in texts)


def _predictions(rows: pd.DataFrame) -> dict[str, float]:
    if PREDICTION not in rows or rows[PREDICTION].dtype.kind == "f":
        return {}
    shares = rows[PREDICTION].value_counts(normalize=True).head(SHOWN_ANSWERS)
    return {str(answer)[:100]: float(share) for answer, share in shares.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m ml.live.drift", description="Compare live rows with training.")
    parser.add_argument("logs", type=Path, help="the directory of all logs")
    logs = parser.parse_args().logs
    versions = [WatchedVersion(**each) for each in json.load(sys.stdin)]
    write(
        logs.parent,
        [compare(each, RequestLog(slot_directory(logs, each.environment, each.model))) for each in versions],
    )
