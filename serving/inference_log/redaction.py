"""What of a row is recorded: all columns, without those to drop, and with hashes in place of those to hash."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from serving.inference_log.segment import HASHED
from serving.inference_log.settings import LogSettings
from serving.model.model_dir import Column

HASH_BYTES = 16


class Redaction:
    """One model's columns as they are recorded."""

    def __init__(self, settings: LogSettings, columns: Sequence[Column], key: bytes | None) -> None:
        """Without a ``key``, columns to hash are dropped."""
        dropped = {*settings.drop, *(() if key else settings.hash)}
        self.columns = [
            (column.name, HASHED if column.name in settings.hash else column.type)
            for column in columns
            if column.name not in dropped
        ]
        hashed = hashed_with(key) if key else None
        self._kept: list[tuple[int, Callable[[Any], Any] | None]] | None = [
            (position, hashed if column.name in settings.hash else None)
            for position, column in enumerate(columns)
            if column.name not in dropped
        ]
        if all(change is None for _, change in self._kept) and len(self._kept) == len(columns):
            self._kept = None

    def rows(self, rows: Iterable[Iterable[Any]]) -> list[Sequence[Any]]:
        """The rows as they are recorded."""
        as_asked = [row if type(row) is tuple else tuple(row) for row in rows]
        if self._kept is None:
            return as_asked  # type: ignore[return-value] # list is invariant
        kept = self._kept
        return [[change(row[at]) if change else row[at] for at, change in kept] for row in as_asked]


def hashed_with(key: bytes) -> Callable[[Any], str | None]:
    """A function from a value to its keyed hash in hexadecimal; equal values have equal hashes, None has none."""

    def hashed(value: Any) -> str | None:
        if value is None:
            return None
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, key=key, digest_size=HASH_BYTES).hexdigest()

    return hashed
