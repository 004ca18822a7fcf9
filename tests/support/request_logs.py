"""An inference log as the receiver keeps it, made of segments."""

import threading
from collections.abc import Sequence
from pathlib import Path

from ml.datasets.request_log import RequestLog
from ml.environment.file import LogPolicy
from receiver.adapters.inference_log.collector import LogCollector
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.state import Slot
from serving.inference_log.segment import Record
from tests.support.segments import write_segment

SLOT = Slot("staging", "m")


def request_log(
    state: Path,
    records: Sequence[Record],
    columns: Sequence[tuple[str, str]],
    slot: Slot = SLOT,
    *,
    version: int = 3,
) -> RequestLog:
    """The log of a slot with these records of a version added."""
    directories = LogDirectories(state)
    write_segment(directories.segments(slot), records, columns, version)
    LogCollector(directories, lambda: {slot: LogPolicy()}).run(threading.Event())
    return RequestLog(directories.parquet(slot))
