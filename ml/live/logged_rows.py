"""Recorded rows with their labels, as a data file to train the next version on, and where they come from."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ml.datasets.dataset import Columns
from ml.datasets.request_log import RequestLog, column_of, slot_directory
from ml.errors import DataError
from ml.live.label_store import LabelStore

DAYS = 36_500.0


@dataclass(frozen=True, slots=True)
class LoggedFrom:
    """Where rows come from."""

    environment: str
    model: str
    versions: Mapping[str, int]  # how many rows each version answered
    rows: int
    first: str  # ISO 8601, UTC
    last: str

    def lineage(self) -> dict[str, Any]:
        """For a file beside the rows, and for the tags of versions that are trained on them."""
        return asdict(self)


def labelled_rows(root: Path, slot: tuple[str, str], columns: Columns) -> tuple[pd.DataFrame, LoggedFrom]:
    """The labelled rows of a model in an environment, a row each, in order of time.

    ``root``: the directory of the inference logs. DataError: there are none, or they lack what training needs.
    """
    environment, model = slot
    labels = LabelStore(root).labels(model)
    log = RequestLog(slot_directory(root / "parquet", environment, model))
    found = [frame for table in log.answered(DAYS) if len(frame := _of_part(table.to_pandas(), labels, columns))]
    frame = _asked_once(pd.concat(found, ignore_index=True), columns) if found else pd.DataFrame()
    if not len(frame):
        raise DataError(
            f"{root}: found no labelled rows of {environment}/{model}, allowed one or more: `pinrail labels"
            f" {model}` says what is known"
        )
    frame = frame.sort_values(["_time", "_request_id", "_row"])
    times: list[datetime] = [frame["_time"].iloc[0], frame["_time"].iloc[-1]]
    versions = {f"v{version}": int(count) for version, count in frame["_version"].value_counts().sort_index().items()}
    source = LoggedFrom(environment, model, versions, len(frame), *(time.isoformat() for time in times))
    wanted = {**{column_of(name): name for name in columns.features}, columns.label: columns.label}
    return frame[list(wanted)].rename(columns=wanted), source


def _asked_once(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Without the rows that were asked with several values under one id: the label is of one of them."""
    row = ["_request_id", "_row"]
    same = frame.drop_duplicates([*row, *map(column_of, columns.features)], keep="last")
    return same.drop_duplicates(row, keep=False)


def _of_part(frame: pd.DataFrame, labels: Mapping[tuple[str, int], str], columns: Columns) -> pd.DataFrame:
    keys = zip(frame["_request_id"], frame["_row"], strict=True)
    frame = frame.assign(**{columns.label: list(_classes(keys, labels, columns))})
    frame = frame[frame[columns.label].notna()]
    if len(frame) and (lacking := [name for name in columns.features if column_of(name) not in frame]):
        raise DataError(
            f"the log has no {', '.join(lacking)}: `drop` leaves them out, so that nothing can be trained"
        )
    optional = {column_of(name) for name in columns.missing}
    required = [column_of(name) for name in columns.features if column_of(name) not in optional]
    if not len(frame):
        return frame
    frame = frame.dropna(subset=required)
    numbers = {column_of(name): kind for name, kind in columns.features.items() if kind is not str}
    try:
        return frame.astype(numbers)
    except (ValueError, TypeError) as error:
        raise DataError(f"the log holds other values than the data has, perhaps hashes: {error}") from error


def _classes(
    keys: Iterator[tuple[str, int]], labels: Mapping[tuple[str, int], str], columns: Columns
) -> Iterator[str | None]:
    """The label of each row in the words of the data file; None: it has none. DataError: it is no class."""
    numbers = {str(number): name for number, name in enumerate(columns.classes)}
    for key in keys:
        label = labels.get(key)
        if label is None or label in columns.classes:
            yield label
        elif (number := label.strip().removesuffix(".0")) in numbers:
            yield numbers[number]
        else:
            allowed = ", ".join([*columns.classes, *numbers])
            raise DataError(f"the label of {key[0]}#{key[1]} is {label[:80]!r}, allowed {allowed}: correct it")
