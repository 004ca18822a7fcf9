"""Live drift, once an hour beside deployments: what versions are asked, against what trained them.

The work is done by ``python -m ml.live.drift``. It notifies, once per column and day, and never rolls back.
"""

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ml.environment.file import Environment
from ml.live import drift_report
from ml.live.drift_report import ColumnDrift, SlotDrift, WatchedVersion
from receiver.adapters import shell
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import Announcement
from receiver.core.pins import read_pins
from receiver.core.state import Slot
from receiver.ports import Journal, Outbox
from serving.lifecycle import launch
from serving.model.loader import Cache

HOUR = 3600.0
LONGEST_SECONDS = 900.0
PSI_LIMIT = 0.25  # where the gate names none: what is commonly called a large shift
MOST_NOTIFICATIONS = 5  # per slot and hour; the text says how many more


class DriftChecks:
    """Runs the program, and notifies of columns that have drifted."""

    def __init__(self, state: Path, journal: Journal, outbox: Outbox) -> None:
        self._directories = LogDirectories(state)
        self._cache = Cache(state / "cache")
        self._journal = journal
        self._outbox = outbox
        self._next = 0.0  # monotonic

    def run(self, stop: threading.Event) -> float:
        """Compare, if it is time. Returns when to see again, in seconds since the epoch. Retryable: it failed."""
        if time.monotonic() >= self._next and (watched := self._watched()):
            self._next = time.monotonic() + HOUR
            self._compare(watched, stop)
            for found in drift_report.read(self._directories.root):
                self._notify(found)
        return time.time() + HOUR

    def _watched(self) -> list[WatchedVersion]:
        """The versions that serve and are recorded."""
        last = self._journal.remembered_pins()
        try:
            environments = read_pins(last.files).environments if last is not None else ()
        except Rejected:  # an earlier Pinrail's, which this one would not accept
            return []
        found = [self._of(environment, model) for environment in environments for model in environment.models]
        return [each for each in found if each is not None]

    def _of(self, environment: Environment, model: str) -> WatchedVersion | None:
        slot, log = Slot(environment.name, model), environment.log_for(model)
        verified = self._journal.verified().get(slot)
        if log is None or verified is None or verified.version is None or verified.digest is None:
            return None
        limits = environment.gate_for(model).get("drift")
        psi, ks = getattr(limits, "psi", None), getattr(limits, "ks", None)
        return WatchedVersion(
            environment=environment.name,
            model=model,
            version=verified.version,
            path=str(self._cache.path_of(verified.digest)),
            psi_limit=PSI_LIMIT if psi is None else psi.max,
            ks_limit=None if ks is None else ks.max,
            private=log.settings.hash,
        )

    def _compare(self, watched: list[WatchedVersion], stop: threading.Event) -> None:
        done = shell.run(
            [sys.executable, "-P", "-m", "ml.live.drift", str(self._directories.all_parquet)],
            environment=launch.environment(os.environ, registry=False),
            timeout=LONGEST_SECONDS,
            stdin=json.dumps([asdict(each) for each in watched]).encode(),
            stop=stop,
        )
        if done.status != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise Retryable(f"live rows could not be compared with training data: {last}", HOUR)

    def _notify(self, found: SlotDrift) -> None:
        drifted = [column for column in found.columns if column.drifted]
        today = datetime.fromtimestamp(found.at, UTC).date()
        for column in drifted[:MOST_NOTIFICATIONS]:
            key = f"drift {found.environment}/{found.model} {column.column} {today}"
            self._outbox.put_once(key, _notice(found, column, len(drifted) - 1))


def _notice(found: SlotDrift, column: ColumnDrift, others: int) -> Announcement:
    what = f"{found.model} v{found.version} in {found.environment}"
    ks = "" if column.ks is None else f", KS {column.ks:.3f}"
    return Announcement(
        f"What {what} is asked has changed: {column.column}",
        f"Against its training data, over {found.rows:,} rows of the last day: PSI {column.psi:.3f}{ks}, missing"
        f" {column.missing:.1%} (in training {column.missing_before:.1%}). {others} other columns have changed too."
        " Nothing is rolled back: whether the answers are still right, labels say.",
    )
