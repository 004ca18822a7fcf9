"""Joining labels to the recorded answers, by request id and row."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.datasets.request_log import ANSWERED, PREDICTION, PROBABILITIES, parts, read_part, slot_directory
from ml.live.label_store import LabelStore
from ml.live.labels import RecordedAnswer
from ml.live.realised import measure

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

CLOCK_SECONDS = 60.0  # a part may appear this long after its time of change
COLUMNS = ["_request_id", "_row", "_version", "_time", PREDICTION, PROBABILITIES]


def update(store: LabelStore, logs: Path, model: str) -> int:
    """Join what can be joined, and measure the versions of a model anew. ``logs``: the directory of all logs.

    Returns the number of changes after which the labels were measured.
    """
    began = time.time()
    new, unknown = store.pending(model)
    if new or unknown:
        found = _answers(logs, model, (new, unknown), store.joined_at(model) - CLOCK_SECONDS)
        store.join(model, found, new, began)
    store.trim(model)
    seen, judged = store.changes().get(model, (0, 0))  # before they are read: a change meanwhile is another one
    if seen != judged:
        store.publish(model, measure(model, store.labelled(model)))
    return seen


def _answers(
    logs: Path, model: str, wanted: tuple[Sequence[str], Sequence[str]], joined_at: float
) -> Iterator[RecordedAnswer]:
    """The answers to requests with these ids: to new ones from the whole log, to others from what is new in it."""
    import pyarrow as pa

    new, both = (pa.array(ids, pa.string()) for ids in (wanted[0], [*wanted[0], *wanted[1]]))
    for directory in sorted(logs.glob("environment=*")):
        environment = directory.name.partition("=")[2]
        for part, _ in parts(slot_directory(logs, environment, model)):
            try:
                ids = both if part.stat().st_mtime >= joined_at else new
                rows = _rows(part, ids) if len(ids) else []
            except FileNotFoundError:  # it became too old meanwhile
                continue
            except (OSError, pa.ArrowException) as error:  # the other parts are as good as before
                log.warning("%s cannot be read: %s", part, error)
                continue
            yield from _answers_in(rows, environment)


def _rows(part: Path, ids: "pa.Array") -> list[dict[str, Any]]:
    import pyarrow.compute as pc

    there = (pc.field("_status") == ANSWERED) & pc.field("_request_id").isin(ids)
    found: list[dict[str, Any]] = read_part(part, columns=COLUMNS, filters=there).to_pylist()
    return found


def _answers_in(rows: Sequence[Mapping[str, Any]], environment: str) -> Iterator[RecordedAnswer]:
    for row in rows:
        if row[PREDICTION] is not None:
            yield RecordedAnswer(
                row["_request_id"],
                row["_row"],
                environment,
                row["_version"],
                row["_time"].timestamp(),
                json.dumps(_plain(row[PREDICTION])),
                len(row[PROBABILITIES] or ()),
            )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and value != value else value  # noqa: PLR0124 - JSON has no NaN
