"""The collection of inference logs beside deployments, as the pins ask for it."""

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ml.environment.file import LogPolicy
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.errors import Rejected
from receiver.core.pins import read_pins
from receiver.core.state import Slot
from receiver.ports import Journal

if TYPE_CHECKING:
    from receiver.adapters.inference_log.collector import LogCollector

CHECK_SECONDS = 10.0


class LogCollection:
    """Collects every few seconds, where any model server records."""

    def __init__(self, state: Path, journal: Journal) -> None:
        self._directories = LogDirectories(state)
        self._journal = journal
        self._collector: LogCollector | None = None

    def run(self, stop: threading.Event) -> float:
        """Collect what there is. Returns when to collect again, in seconds since the epoch."""
        if self._directories.slots():
            from receiver.adapters.inference_log.collector import LogCollector  # late: pyarrow is large

            self._collector = self._collector or LogCollector(self._directories, self._policies)
            self._collector.run(stop)
        return time.time() + CHECK_SECONDS

    def _policies(self) -> Mapping[Slot, LogPolicy]:
        """The logs that the last valid pins ask for."""
        last = self._journal.remembered_pins()
        try:
            environments = read_pins(last.files).environments if last is not None else ()
        except Rejected:  # an earlier Pinrail's, which this one would not accept
            return {}
        return {
            Slot(environment.name, model): policy
            for environment in environments
            for model in environment.models
            if (policy := environment.log_for(model)) is not None
        }
