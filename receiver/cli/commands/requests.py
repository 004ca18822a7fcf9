"""``pinrail requests``: what a slot's model servers were asked and what they answered, from the inference log."""

import base64
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import json

from ml.datasets.request_log import PREDICTION, PROBABILITIES
from ml.environment.file import did_you_mean
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.query import RequestFilter, export, newest
from receiver.adapters.inference_log.table import OWN
from receiver.cli.output import answer
from receiver.cli.tables import first_line, table, version
from receiver.core.errors import Rejected
from receiver.core.state import Slot
from receiver.settings import load_settings

UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


@dataclass(frozen=True, slots=True)
class RequestView:
    """One row that a model server was asked about: ``pinrail requests --json``."""

    time: datetime
    """When it was answered; ISO 8601, UTC."""
    request_id: str
    row: int
    """Its number in the request, from 0."""
    version: int
    caller: str
    protocol: str
    """``predict``, ``invocations`` or ``infer``."""
    status: int
    reason: str
    """Why it was refused; empty where it was answered."""
    latency_ms: float
    params: str | None
    """The params of the request, as JSON."""
    inputs: Mapping[str, Any]
    """By column; hashes in place of hashed ones, and without dropped ones."""
    prediction: Any
    probabilities: Sequence[float] | None


@dataclass(frozen=True, slots=True)
class RequestsQuery:
    """What was asked for on the command line."""

    slot: Slot
    since: str | None
    caller: str | None
    version: int | None
    limit: int


def show_requests(query: RequestsQuery, out: Path | None, *, as_json: bool) -> None:
    """Print the last rows, or write all to a file. Rejected: an unknown time or format, or nothing was recorded."""
    directories = LogDirectories(load_settings().pinrail_state_dir)
    wanted = RequestFilter(_time(query.since), query.caller, query.version)
    directory = directories.parquet(query.slot)
    if not directory.exists():
        raise Rejected(_nothing(directories, query.slot))
    if out is not None:
        sys.stdout.write(f"{export(directory, wanted, out)} rows are in {out}\n")
        return
    views = [_view(row) for row in newest(directory, wanted, query.limit)]
    answer(views, _text, json_wanted=as_json)


def _time(since: str | None) -> datetime | None:
    if since is None:
        return None
    if found := re.fullmatch(r"([0-9]{1,6})([dhms])", since):
        return datetime.now(UTC) - timedelta(**{UNITS[found[2]]: int(found[1])})
    try:
        return datetime.fromisoformat(since).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Rejected(
            f"--since: found {since!r}, allowed how long ago, like 2h, or a time, like 2026-11-23T14:00: correct it"
        ) from error


def _nothing(directories: LogDirectories, slot: Slot) -> str:
    if slot in directories.slots():
        return f"nothing is recorded of {slot} yet: the receiver collects every few seconds, while it runs"
    known = [str(found) for found in directories.slots()]
    if known:
        return f"nothing is recorded of {slot}: {did_you_mean(str(slot), known)}"
    return f"nothing is recorded of {slot}: add `log: {{}}` to environments/{slot.environment}.yaml and merge it"


def _view(row: Mapping[str, Any]) -> RequestView:
    features = {name: value for name, value in row.items() if name not in (*OWN.names, PREDICTION, PROBABILITIES)}
    return RequestView(
        **{name.removeprefix("_"): row[name] for name in OWN.names},
        inputs={name.removeprefix("_"): _shown(value) for name, value in features.items()},
        prediction=_shown(row[PREDICTION]),
        probabilities=row[PROBABILITIES],
    )


def _shown(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _text(views: Sequence[RequestView]) -> str:
    return table(
        ("time", "version", "caller", "status", "ms", "request", "prediction", "inputs"),
        [
            (
                view.time.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                version(view.version),
                view.caller,
                view.status,
                round(view.latency_ms, 1),
                f"{view.request_id}" + (f"#{view.row}" if view.row else ""),
                view.prediction,
                first_line(view.reason) or json.encode(view.inputs).decode(),
            )
            for view in views
        ],
        empty="nothing was recorded that fits",
    )
