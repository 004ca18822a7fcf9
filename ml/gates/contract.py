"""``contract``: how many callers of the live version send requests that this version would refuse.

What callers really sent is in the inference log. A column that is dropped or hashed there can't be checked.
"""

import base64
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.datasets.request_log import ARROW_TYPES, RequestLog, as_sent, column_of
from ml.environment.gate_schema import AtMostCount, ContractLimits
from ml.evidence import CheckOutcome, Verdict
from ml.gates.judge import judge
from ml.gates.subject import Record, Subject
from serving.errors import InvalidRequestError
from serving.model.model_dir import Column, ModelDir
from serving.model.schema import RequestSchema

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ROWS = 2_000  # of one caller
MOST_CALLERS = 200
SHOWN = 5
MOST_CATEGORIES = 50  # of a column whose values are categories
HASH = re.compile(r"[0-9a-f]{32}")
INTEGERS = frozenset({"integer", "long"})
ELSEWHERE = (
    "there is no inference log here: have the receiver measure the version, or name its log with --requests, and"
    " switch it on with `log: {}` in the environment file"
)


@dataclass(slots=True)
class Caller:
    """What one caller sent, as far as it was looked at."""

    name: str
    rows: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        why = "; ".join(reason for reason, _ in self.reasons.most_common(SHOWN))
        return f"{self.name or '(no name)'}: {self.refused:,} of {self.rows:,} rows: {why}"


def check(subject: Subject, limits: ContractLimits) -> Sequence[Verdict]:
    """Hold the last rows of each caller against this version's signature; one caller that would be refused fails."""
    champion = subject.champion
    if champion is None:
        return [judge("contract", 0, AtMostCount(max=0), "no version is live here that could have callers")]
    if subject.log is None or not champion.columns:
        reason = ELSEWHERE if subject.log is None else champion.unanswered
        return [Verdict("contract", CheckOutcome.INCONCLUSIVE, math.nan, "not known to be <=", 0, reason)]
    callers: dict[str, Caller] = {}
    sent: dict[str, set[str]] = {}
    for caller, record, schema in _rows(subject.log, champion.columns, subject.columns, limits.days):
        found = callers.setdefault(caller, Caller(caller))
        found.rows += 1
        reasons = schema.reasons(record)
        found.refused += bool(reasons)
        found.reasons.update(reasons)
        for name, value in record.items():
            sent.setdefault(name, set()).add(value if isinstance(value, str) else "")
    broken = sorted((c for c in callers.values() if c.refused), key=lambda c: -c.refused)
    rows = sum(caller.rows for caller in callers.values())
    says = f"{rows:,} rows of {len(callers)} callers in {limits.days} days"
    if broken:
        says += f"; would be refused: {' | '.join(map(str, broken[:SHOWN]))}"
        says += f" | and {len(broken) - SHOWN} more callers" if len(broken) > SHOWN else ""
    says += _remarks(subject, sent) if rows else ""
    return [judge("contract", len(broken), AtMostCount(max=0), says)]


class Schema:
    """What a version takes, without the columns that were not recorded as they were sent."""

    def __init__(self, columns: Sequence[Column], unknown: frozenset[str]) -> None:
        self._columns = {column.name: column for column in columns if column.name not in unknown}
        described = ModelDir(Path(), tuple(self._columns.values()), (), frozenset(), None, None)
        self._schema = RequestSchema(described)

    def reasons(self, record: Record) -> list[str]:
        """Why a row would be refused; empty: it would not."""
        found = [f"it sends {name}, which is no field" for name in record if name not in self._columns]
        try:
            self._schema.check([self.taken(record)])
        except InvalidRequestError as error:
            found += [f"{'.'.join(map(str, d.loc[2:]))}: {d.msg}" for d in error.details]
        return found

    def taken(self, record: Record) -> Record:
        """The row without fields that this version does not have, and with numbers as it takes them."""
        columns = self._columns
        return {name: _as_asked(value, columns[name]) for name, value in record.items() if name in columns}


def _rows(
    log: RequestLog, before: Sequence[Column], after: Sequence[Column], days: int
) -> Iterator[tuple[str, Record, Schema]]:
    """Up to MOST_ROWS rows of each caller, with the schema to hold each against."""
    schemas: dict[frozenset[str], Schema] = {}
    seen: Counter[str] = Counter()
    for table in log.answered(days):
        known = recorded_columns(table, before)
        unknown = frozenset(column.name for column in before if column.name not in known)
        schema = schemas.setdefault(unknown, Schema(after, unknown))
        wanted = table.select(["_caller", "_protocol", *map(column_of, known)]).to_pylist()
        for row in reversed(wanted):
            caller = row["_caller"]
            if seen[caller] >= MOST_ROWS or (caller not in seen and len(seen) >= MOST_CALLERS):
                continue
            seen[caller] += 1
            record = as_recorded(row, known)
            # MLflow's protocol ignores what it does not know.
            yield caller, schema.taken(record) if row["_protocol"] == "invocations" else record, schema


def as_recorded(row: Mapping[str, Any], columns: Iterable[str]) -> Record:
    """A row of the log as a request. A field that is missing or null there, which it can't tell, is left out."""
    values = {name: row[column_of(name)] for name in columns}
    return {name: as_sent(value) for name, value in values.items() if value is not None}


def recorded_columns(table: "pa.Table", columns: Sequence[Column]) -> Mapping[str, Column]:
    """The columns that were recorded as they were sent: a hash is a text, whatever it was."""
    types = dict(zip(table.column_names, map(str, table.schema.types), strict=True))
    return {c.name: c for c in columns if types.get(column_of(c.name)) == ARROW_TYPES[c.type]}


def _as_asked(value: Any, column: Column) -> Any:
    if column.type in INTEGERS and isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number; which one was sent is not recorded
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _remarks(subject: Subject, sent: Mapping[str, set[str]]) -> str:
    """What is no fault, and worth knowing: fields that nobody sends, and texts that training has not seen."""
    says = ""
    if unused := [column.name for column in subject.columns if not column.required and column.name not in sent]:
        says += f"; nobody sends {', '.join(unused[:SHOWN])}"
    if subject.reference is not None:
        for column in subject.columns:
            profile = subject.reference.columns.get(column.name)
            values = {value for value in sent.get(column.name, ()) if not HASH.fullmatch(value)}
            new = sorted(values - profile.shares.keys()) if profile else []
            if column.type == "string" and profile and new:
                # What people typed in freely is not shown: evidence goes to the registry and into comments.
                named = ", ".join(new[:SHOWN]) if len(profile.shares) <= MOST_CATEGORIES else f"{len(new):,} values"
                says += f"; training has not seen {column.name} {named}"
    return says
