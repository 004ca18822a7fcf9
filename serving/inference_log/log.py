"""The buffer between requests and the disk, and the thread that empties it.

A request adds one record to a bounded buffer and never waits. Whatever goes wrong behind it (a full or slow disk, a
directory that is gone, a receiver that no longer collects) costs records, which are counted, and nothing else. A
crash costs the records since the last segment.
"""

import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from serving.http.quiet import RepeatLimit
from serving.inference_log.entry import Entry, pieces, record
from serving.inference_log.rate import RateLimit
from serving.inference_log.redaction import Redaction
from serving.inference_log.segment import SUFFIX, Header, encode, joined
from serving.inference_log.settings import PROBER, LogSettings
from serving.inference_log.spool import read_key, waiting_bytes, write_whole
from serving.metrics import LogMetrics
from serving.model.model_dir import Column

log = logging.getLogger(__name__)
log.addFilter(RepeatLimit())

SEGMENT_SECONDS = 2.0  # from the first record of a segment until it is written
CLOSE_SECONDS = 2.0
INLINE_ROWS = 16  # up to here, encoding right after the answer costs less than keeping the objects for the thread
DEFERRED_WEIGHT = 8  # bytes in memory for each byte of a body


@dataclass(frozen=True, slots=True)
class LogLimits:
    """What an inference log may use."""

    buffer_bytes: int = 16 << 20
    waiting_bytes: int = 64 << 20  # of all segments in the directory that nobody has collected
    requests_per_second: int = 1_000  # of up to INLINE_ROWS rows; a longer one counts as several


_Deferred = tuple[float, Entry]  # when, and what


class InferenceLog:
    """The log of one model server. :meth:`add` belongs to the event loop; a thread does the rest."""

    def __init__(
        self,
        settings: LogSettings,
        directory: Path,
        served: tuple[int, str, Sequence[Column]],
        limits: LogLimits | None = None,
    ) -> None:
        """``served``: the version, its digest and its columns."""
        self.caller_header = settings.caller.lower().encode("latin-1", "replace")
        self.metrics = LogMetrics()
        self.directory = directory
        self._limits = limits or LogLimits()
        self._sample = settings.sample
        version, digest, columns = served
        self._redaction = Redaction(settings, columns, read_key(directory) if settings.hash else None)
        self._header = Header(version, digest, self._redaction.columns, {})
        self._buffer: deque[bytes | _Deferred] = deque()
        self._added = 0  # bytes, by the event loop
        self._removed = 0  # bytes, by the thread
        self._rate = RateLimit(self._limits.requests_per_second, time.time())
        self._name = secrets.token_hex(6)
        self._segments = 0
        self._idle = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference-log", daemon=True)
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Record an answered request, or count why not. Never waits, never raises."""
        sampled = self._sample >= 1 or random.random() < self._sample  # noqa: S311 - no secret
        if not sampled or entry.caller == PROBER:
            return
        now, count = time.time(), 1 if entry.rows is None else len(entry.rows)
        if self._added - self._removed > self._limits.buffer_bytes:
            self.metrics.dropped["buffer"] += 1
        elif not self._rate.allows(1 + count // INLINE_ROWS, now):
            self.metrics.dropped["rate"] += 1
        elif count > INLINE_ROWS:
            self._put((now, entry), DEFERRED_WEIGHT * entry.size)
        else:
            try:
                encoded = encode(record(now, entry, self._redaction))
            except Exception as error:  # noqa: BLE001 - whatever a model answers
                self._note_unencodable(error)
            else:
                self._put(encoded, len(encoded))

    def close(self) -> None:
        """Write what is buffered, and end; a disk that hangs is not waited for."""
        self._stop.set()
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)

    def _put(self, item: bytes | _Deferred, weight: int) -> None:
        self._added += weight
        self._buffer.append(item)
        if self._idle:
            self._wake.set()

    def _note_unencodable(self, error: Exception) -> None:
        log.error("an answer could not be recorded: %s", type(error).__name__)  # no values
        self.metrics.dropped["encoding"] += 1

    def _run(self) -> None:
        last = False
        while not last:
            if not self._buffer:
                self._wait_for_record()
            self._stop.wait(SEGMENT_SECONDS)
            last = self._stop.is_set()  # read before the buffer: what comes later is not waited for
            try:
                self._write(self._take_all())
            except Exception as error:  # noqa: BLE001 - the thread must go on
                log.error("a bug in the inference log: %s", type(error).__name__)  # noqa: TRY400 - no values

    def _wait_for_record(self) -> None:
        self._wake.clear()
        self._idle = True
        if not self._buffer and not self._stop.is_set():  # nothing came before the flag could be seen
            self._wake.wait()
        self._idle = False

    def _take_all(self) -> list[bytes]:
        found: list[bytes] = []
        for _ in range(len(self._buffer)):
            item = self._buffer.popleft()
            if isinstance(item, bytes):
                self._removed += len(item)
                found.append(item)
                continue
            when, entry = item
            try:
                for piece in pieces(record(when, entry, self._redaction)):
                    found.append(encode(piece))
                    time.sleep(0)  # let requests have the interpreter
            except Exception as error:  # noqa: BLE001 - whatever a model answers
                self._note_unencodable(error)
            self._removed += DEFERRED_WEIGHT * entry.size
        return found

    def _write(self, found: Sequence[bytes]) -> None:
        """Write one segment, or count what is lost with it."""
        if not found:
            return
        content = joined(replace(self._header, dropped=dict(self.metrics.dropped)), found)
        try:
            if waiting_bytes(self.directory) + len(content) > self._limits.waiting_bytes:
                self.metrics.dropped["uncollected"] += len(found)
                return
            self._segments += 1
            name = f"{int(time.time()):012d}-{self._name}-{self._segments:06d}{SUFFIX}"
            write_whole(self.directory / name, content)
            self.metrics.recorded += len(found)
        except OSError as error:
            log.warning("%s: the inference log cannot be written: %s", self.directory, error.strerror)
            self.metrics.dropped["disk"] += len(found)
