"""Turns the segments of all model servers into Parquet, and keeps each log within its days and megabytes.

A claim is a directory of segments that were taken away from their writers. It is removed when all of its rows are in
Parquet, and begun anew after a crash.
"""

import contextlib
import logging
import math
import os
import secrets
import shutil
import stat
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from ml.environment.file import LogPolicy
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.losses import Losses
from receiver.adapters.inference_log.parts import Parts
from receiver.adapters.inference_log.table import to_table
from receiver.core.state import Slot
from serving.inference_log.segment import SUFFIX, Header, Record, SegmentInvalid, read
from serving.inference_log.spool import KEY

log = logging.getLogger(__name__)

CLAIM_BYTES = 4 << 20  # of segments that are converted at once; as Python's objects they are 20 times as large
LARGEST_SEGMENT = 64 << 20  # bytes
WAITING_BYTES = 128 << 20  # more than this no model server leaves, unless it means harm
LEFTOVER_SECONDS = 600.0
MEGABYTE = 1_000_000
REPORT_SECONDS = 600.0
DAY_SECONDS = 86_400
REASONS = {
    "rate": "beyond 1,000 per second",
    "buffer": "while the disk was too slow",
    "disk": "while the disk was full or the directory gone",
    "uncollected": "while no receiver collected",
    "encoding": "with answers that cannot be recorded",
}

Segment = tuple[Header, Sequence[Record]]
Columns = tuple[tuple[str, str], ...]


class LogCollector:
    """Collects for all slots. ``policies``: the logs that the pins ask for now."""

    def __init__(self, directories: LogDirectories, policies: Callable[[], Mapping[Slot, LogPolicy]]) -> None:
        self._directories = directories
        self._policies = policies
        self._losses = Losses(directories.root)
        self._unreported: dict[Slot, Counter[str]] = defaultdict(Counter)
        self._reported_at: dict[Slot, float] = {}  # monotonic

    def run(self, stop: threading.Event) -> None:
        """Collect what there is; ends early at the event."""
        slots = self._directories.slots()
        policies = self._policies() if slots else {}
        for slot in slots:
            try:
                self._collect(slot, policies.get(slot) or LogPolicy(), stop)
            except OSError as error:
                log.warning("%s: the inference log cannot be collected: %s", slot, error.strerror or error)

    def _collect(self, slot: Slot, policy: LogPolicy, stop: threading.Event) -> None:
        source, claims = self._directories.segments(slot), self._directories.claims(slot)
        parts = Parts(self._directories.parquet(slot), policy.max_mb * MEGABYTE)
        while not stop.is_set():
            waiting = _tidy(source)
            parts.trim(policy.keep_days, waiting)  # first: a full disk gets room
            claim = next(iter(sorted(claims.glob("*"))), None) or _claim(source, claims)
            if claim is None:
                return
            segments = _read_all(claim)
            try:
                _convert(claim, segments.values(), parts, policy.keep_days)
            except pa.ArrowException:  # it must not stop all that come after it
                log.exception("%s: the records of some seconds are lost", slot)
            self._report_lost(slot, segments)
            shutil.rmtree(claim)

    def _report_lost(self, slot: Slot, segments: Mapping[Path, Segment]) -> None:
        """Say what model servers could not record since it was said last, a few times an hour."""
        lost, before = self._unreported[slot], self._unreported[slot].total()
        for path, (header, _) in segments.items():
            server = path.name.split("-")[1] if "-" in path.name else ""
            lost.update(self._losses.note(slot, server, {r: header.dropped.get(r, 0) for r in REASONS}))
        if lost.total() > before:
            with contextlib.suppress(OSError):  # a full disk: what is counted in memory is written next time
                self._losses.save()
        if lost.total() and time.monotonic() - self._reported_at.get(slot, -math.inf) > REPORT_SECONDS:
            self._reported_at[slot] = time.monotonic()
            named = ", ".join(f"{count:,} {REASONS[reason]}" for reason, count in (+lost).items())
            log.warning("%s: requests are missing in the inference log: %s", slot, named)
            lost.clear()


def _tidy(source: Path) -> int:
    """Remove what no segment is; returns the bytes of the segments. Of too many the oldest go."""
    sizes = {}
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(source.iterdir()):
            with contextlib.suppress(OSError):  # collected, or its owner lets nobody touch it
                found = path.lstat()
                if stat.S_ISREG(found.st_mode) and path.suffix == SUFFIX and not path.name.startswith("."):
                    sizes[path] = found.st_size
                elif path.name != KEY and time.time() - found.st_mtime > LEFTOVER_SECONDS:
                    shutil.rmtree(path) if stat.S_ISDIR(found.st_mode) else path.unlink()
    total = sum(sizes.values())
    for path, size in sizes.items():
        if total <= WAITING_BYTES:
            break
        log.warning("%s: removed, for more waits there than a model server leaves", path)
        path.unlink(missing_ok=True)
        total -= size
    return total


def _claim(source: Path, claims: Path) -> Path | None:
    """Take some segments away from their writers; None where there are none."""
    taken: list[Path] = []
    size = 0
    for path in sorted(source.glob(f"[!.]*{SUFFIX}")):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and size < CLAIM_BYTES:
            taken.append(path)
            size += found.st_size
    if not taken:
        return None
    claim = claims / f"{time.time_ns():020d}-{secrets.token_hex(4)}"
    claim.mkdir(mode=0o700, parents=True)
    for path in taken:
        path.rename(claim / path.name)
    return claim


def _convert(claim: Path, found: Iterable[Segment], parts: Parts, keep_days: int) -> None:
    today = int(time.time() // DAY_SECONDS)
    groups: dict[tuple[Columns, int], list[Segment]] = defaultdict(list)
    for header, records in found:
        by_day: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            by_day[min(today, int(record.time // 1e6 // DAY_SECONDS))].append(record)
        for number, of_day in by_day.items():
            groups[tuple(header.columns), number].append((header, of_day))
    for (columns, number), segments in sorted(groups.items()):
        table = _converted(claim, segments, columns) if number >= today - keep_days else None
        if table is not None:
            parts.append(table, datetime.fromtimestamp(number * DAY_SECONDS, UTC).date(), claim.name)


def _converted(claim: Path, segments: Sequence[Segment], columns: Columns) -> pa.Table | None:
    """The records as a table, without segments that no model server writes; None: there are no others."""
    try:
        return to_table(segments, columns)
    except SegmentInvalid:
        sound = []
        for segment in segments:
            try:
                to_table([segment], columns)
                sound.append(segment)
            except SegmentInvalid as error:
                log.warning("%s: a segment was left out: %s", claim.parent, error)
        return to_table(sound, columns) if sound else None


def _read_all(claim: Path) -> Mapping[Path, Segment]:
    found = {}
    for path in sorted(claim.iterdir()):
        try:
            found[path] = read(_content(path))
        except (SegmentInvalid, OSError) as error:
            log.warning("%s: a segment was left out: %s", path, error)
    return found


def _content(path: Path) -> bytes:
    """SegmentInvalid: nothing that a model server writes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_SEGMENT:
            raise SegmentInvalid(f"it is no file of up to {LARGEST_SEGMENT >> 20} MB")
        return file.read(LARGEST_SEGMENT)
