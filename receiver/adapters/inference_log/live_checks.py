"""Checks of live versions beside deployments: labels are joined to the log as either arrives.

The work is done by ``python -m ml.live``, a program of its own: what it loads does not stay in the receiver.
"""

import logging
import os
import sys
import threading
import time
from pathlib import Path

from ml.live.label_store import LabelStore, LabelsUnusable
from receiver.adapters import shell
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.errors import Retryable
from serving.lifecycle import launch

log = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
UNKNOWN_SECONDS = 300.0  # how often labels without an answer are held against what is new in the log
LONGEST_SECONDS = 900.0


class LiveChecks:
    """Runs the program where there is something to do."""

    def __init__(self, state: Path) -> None:
        self._directories = LogDirectories(state)
        self._store = LabelStore(self._directories.root)
        self._next = 0.0  # monotonic

    def run(self, stop: threading.Event) -> float:
        """Join labels that wait. Returns when to see again, in seconds since the epoch. Retryable: it failed."""
        try:
            waiting = self._store.waiting()
        except LabelsUnusable as error:
            raise Retryable(str(error)) from error
        if waiting.new or (waiting.unknown and time.monotonic() >= self._next):
            self._next = time.monotonic() + UNKNOWN_SECONDS
            self._measure(stop)
        return time.time() + CHECK_SECONDS

    def _measure(self, stop: threading.Event) -> None:
        done = shell.run(
            [sys.executable, "-P", "-m", "ml.live", str(self._directories.all_parquet)],
            environment=launch.environment(os.environ, registry=False),
            timeout=LONGEST_SECONDS,
            stop=stop,
        )
        if done.status != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Retryable(f"labels could not be joined to the inference log: {last}", UNKNOWN_SECONDS)
