"""Segments as model servers leave them, to read and to write."""

import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from serving.inference_log.segment import SUFFIX, Header, Record, encode, joined, read


def segments(directory: Path) -> list[Path]:
    """Those that are complete, oldest first."""
    return sorted(directory.glob(f"[!.]*{SUFFIX}"))


def recorded(directory: Path) -> Sequence[Record]:
    """All their records."""
    return [record for path in segments(directory) for record in read(path.read_bytes())[1]]


COLUMNS = [("age", "long"), ("city", "string")]


def record(**changes: Any) -> Record:
    """A request of one row that was answered now."""
    now = int(time.time() * 1e6)
    plain = Record(now, b"id", b"shop", "predict", 200, "", 900, None, 0, [[30, "Köln"]], ["stay"], [[0.25, 0.75]])
    return replace(plain, **changes)


def write_segment(
    directory: Path,
    records: Sequence[Record],
    columns: Sequence[tuple[str, str]] = COLUMNS,
    version: int = 3,
    dropped: Mapping[str, int] | None = None,
) -> Path:
    """A segment as a model server leaves it."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{time.time_ns():020d}-server-{secrets.token_hex(4)}{SUFFIX}"
    header = Header(version, "sha256:00", list(columns), dict(dropped or {}))
    path.write_bytes(joined(header, [encode(each) for each in records]))
    return path
