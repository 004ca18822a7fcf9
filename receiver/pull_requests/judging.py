"""Has the gate measure new versions: once each, with growing intervals after a failure.

Results are evidence in the registry, so a restarted receiver measures nothing twice. What the inference log left open
is measured again: more requests come.
"""

import logging
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ml.evidence import CheckOutcome, Evidence, gate_digest
from ml.evidence_key import signer
from receiver.core.backoff import Backoff
from receiver.core.errors import Rejected, Retryable
from receiver.core.policy import COMPARING
from receiver.core.state import Slot
from receiver.ports import Registry

log = logging.getLogger(__name__)

BACKOFF = Backoff(first=300.0, longest=86_400.0)
BY_TRAFFIC = ("contract", "replay")  # checks that may decide later
AGAIN_SECONDS = 3600.0

Files = Mapping[str, bytes]
Key = tuple[Slot, int, str, int | None]  # with the digest of the gate, and the live version that it compares with


class VersionGate(Protocol):
    """Measures versions outside this process."""

    def run(self, slot: Slot, version: int, files: Files, stop: threading.Event) -> None:
        """Have evidence recorded. Rejected: it could not be measured; Retryable: not now."""
        ...


@dataclass
class _Unmeasured:
    attempts: int
    not_before: float  # monotonic


@dataclass
class Judge:
    """Returns evidence that one of the ``trusted`` keys has signed, and caches it.

    ``stop`` ends the current measurement.
    """

    registry: Registry
    gate: VersionGate
    stop: threading.Event
    trusted: Collection[str] = ()
    _judged: dict[Key, Evidence] = field(default_factory=dict, init=False)
    _unmeasured: dict[Key, _Unmeasured] = field(default_factory=dict, init=False)

    def evidence(
        self, slot: Slot, version: int, checks: Mapping[str, Any], files: Files, live: int | None = None
    ) -> Evidence | None:
        """Evidence for these checks: known, recorded, or measured now. None: it cannot be measured now.

        ``live``: the version that serves the slot, with which some checks compare.

        Retryable: the registry cannot be asked, or the measurement was stopped.
        """
        key = (slot, version, gate_digest(checks), live if COMPARING & checks.keys() else None)
        if key not in self._judged:
            found = self._recorded(key) or self._measured(key, files)
            if found is None:
                return None
            said = "passed" if found.passed else "failed"
            log.info("%s v%d %s the gate of %s", slot.model, version, said, slot.environment)
            if _may_decide_later(found):
                return found
            self._judged[key] = found
        return self._judged[key]

    def _recorded(self, key: Key) -> Evidence | None:
        slot, version, gate, live = key
        try:
            found = self.registry.evidence(slot.model, version, slot.environment)
        except Rejected:  # damaged: measure again
            return None
        if found is None or found.gate_digest != gate or signer(found) not in self.trusted:
            return None
        if live not in {None, found.champion}:
            return None
        old = abs(time.time() - found.measured_at) > AGAIN_SECONDS
        return None if old and _may_decide_later(found) else found

    def _measured(self, key: Key, files: Files) -> Evidence | None:
        slot, version, *_ = key
        if key in self._unmeasured and time.monotonic() < self._unmeasured[key].not_before:
            return None
        log.info("measuring %s v%d", slot.model, version)
        try:
            self.gate.run(slot, version, files, self.stop)
        except (Rejected, Retryable) as error:
            if self.stop.is_set():
                raise
            self._defer(key, str(error))
            return None
        found = self._recorded(key)
        if found is None:
            what = f"evidence of {slot.model} v{version} for {slot.environment}"
            self._defer(key, f"the gate recorded no {what}, with a key that is trusted there and beside what is live")
        return found

    def _defer(self, key: Key, reason: str) -> None:
        """Retry at growing intervals; a restarted receiver retries at once."""
        attempts = self._unmeasured[key].attempts + 1 if key in self._unmeasured else 1
        wait = BACKOFF.after(attempts)
        self._unmeasured[key] = _Unmeasured(attempts, time.monotonic() + wait)
        log.warning("again in %g s: %s", wait, reason)


def _may_decide_later(evidence: Evidence) -> bool:
    """Nothing failed, and what is left open is left open by the inference log alone."""
    left = [verdict for verdict in evidence.verdicts if verdict.outcome is not CheckOutcome.PASS]
    return bool(left) and all(
        verdict.outcome is CheckOutcome.INCONCLUSIVE and verdict.name.partition(".")[0] in BY_TRAFFIC
        for verdict in left
    )
