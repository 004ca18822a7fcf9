"""The inference log of one model in one environment, as the receiver keeps it: Parquet, a directory per day.

A feature keeps its name there; Pinrail's own columns begin with an underscore, and a feature that does gets one more.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

DAY = "date="
PREDICTION, PROBABILITIES = "_prediction", "_probabilities"
ANSWERED = 200
ARROW_TYPES = {  # of the signature's types, as pyarrow writes them
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "binary": "binary",
    "datetime": "timestamp[us]",
}


@dataclass(frozen=True, slots=True)
class RequestLog:
    """What one model was asked in one environment."""

    directory: Path

    def answered(self, days: float) -> Iterator["pa.Table"]:
        """The rows of the last days that were answered, by part, the last part first."""
        import pyarrow.compute as pc

        since = datetime.now(UTC) - timedelta(days=days)
        wanted = (pc.field("_status") == ANSWERED) & (pc.field("_time") >= since)
        found = [part for part, day in parts(self.directory) if day >= since.date()]
        for part in last_first(found):
            with contextlib.suppress(FileNotFoundError):  # it became too old meanwhile
                yield read_part(part, filters=wanted)


def read_part(part: Path, **options: Any) -> "pa.Table":
    """Read a part as it was at one moment: the receiver may put a longer one in its place meanwhile.

    ``options`` are those of ``pyarrow.parquet.read_table``, which opens what it is given as a path more than once.
    FileNotFoundError: it became too old. OSError, ArrowException: it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.OSFile(str(part)) as file:
        return pq.read_table(file, partitioning=None, **options)


def slot_directory(root: Path, environment: str, model: str) -> Path:
    """Where the log of a model is below the directory of all logs."""
    return root / f"environment={environment}" / f"model={model}"


def column_of(feature: str) -> str:
    """The name of a feature's column."""
    return f"_{feature}" if feature.startswith("_") else feature


def parts(directory: Path) -> Sequence[tuple[Path, date]]:
    """All parts of a log with their days, oldest day first."""
    return [(part, day) for path, day in days(directory) for part in sorted(path.glob("*.parquet"))]


def days(directory: Path) -> Iterator[tuple[Path, date]]:
    """The directories of a log's days, oldest first."""
    for path in sorted(directory.glob(f"{DAY}*")):
        with contextlib.suppress(ValueError):
            yield path, date.fromisoformat(path.name.removeprefix(DAY))


def last_first(found: Iterable[Path]) -> Sequence[Path]:
    """The parts that were added to last, first. Those that became too old meanwhile are last."""

    def modified(part: Path) -> float:
        with contextlib.suppress(FileNotFoundError):
            return part.stat().st_mtime
        return 0.0

    return sorted(found, key=modified, reverse=True)


def as_sent(value: Any) -> Any:
    """A value as JSON holds it: a datetime as text."""
    return value.isoformat() if isinstance(value, datetime) else value
