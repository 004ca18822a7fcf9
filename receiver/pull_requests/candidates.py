"""New versions in the registry: the best of each model that passes the gate is proposed for the first environment.

A version is new if it is newer than the pinned one, than every version that was tried in that environment, and than
every version whose pull request a person has closed. A version that fails the gate is not proposed.
"""

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from ml.environment.file import Environment
from ml.environment.gate_schema import checks_of
from ml.evidence import Evidence
from receiver.adapters.github.pulls import Pulls
from receiver.core.deployment import Outcome, last_verified
from receiver.core.errors import Rejected, Retryable
from receiver.core.pins import read_pins
from receiver.core.state import Slot
from receiver.ports import Snapshot
from receiver.pull_requests.judging import Judge, VersionGate
from receiver.pull_requests.open_pull_request import SUPERSEDED, Upstream
from receiver.pull_requests.promotion import PinChange
from receiver.pull_requests.propose_promotion import propose_promotion
from receiver.services import Services

log = logging.getLogger(__name__)

MOST = 10  # the newest versions of a model that are assessed at once
TRIED = frozenset({Outcome.LIVE, Outcome.ROLLED_BACK, Outcome.NEEDS_HUMAN})


@dataclass
class Candidates:
    """One gate run at a time, on one thread. ``services`` has a mirror that deployments do not wait for."""

    services: Services
    upstream: Upstream
    pulls: Pulls
    gate: VersionGate
    _judge: Judge | None = field(default=None, init=False)
    _proposed: dict[Slot, object] = field(
        default_factory=dict, init=False
    )  # commit and versions it was proposed from

    def run(self, stop: threading.Event) -> float:
        """Measure what is new and propose the best. Returns infinity: there is no next check to schedule.

        Rejected: the pins are not valid. Retryable: git, registry or GitHub cannot be asked.
        """
        self._judge = self._judge or Judge(self.services.registry, self.gate, stop)
        snapshot = self.services.source.snapshot()
        first = read_pins(snapshot.files).environments[0]  # in promotion order, so this one has no predecessor
        self._judge.trusted = self.services.trusted(first) or ()
        deferred = None
        for model in first.models:
            try:
                self._nominate(self._judge, snapshot, first, model)
            except Rejected as error:
                log.warning("no candidate for %s: %s", model, error)
            except Retryable as error:
                deferred = error
            if stop.is_set():
                break
        if deferred is not None:
            raise deferred
        return math.inf

    def _nominate(self, judge: Judge, snapshot: Snapshot, first: Environment, model: str) -> None:
        slot, gate = Slot(first.name, model), first.gate_for(model)
        if not checks_of(gate):  # without checks every version would pass
            return
        floor = max([first.models[model].version, *self._tried(slot)])
        new = [version for version in self.services.registry.versions(model) if version > floor][-MOST:]
        verified = last_verified(self.services.journal.history(slot))
        live = verified.version if verified is not None else None
        found = [judge.evidence(slot, version, gate, snapshot.files, live) for version in reversed(new)]
        passed = [evidence for evidence in found if evidence is not None and evidence.passed]
        basis = (snapshot.commit, [evidence.version for evidence in passed])
        if passed and self._proposed.get(slot) != basis and self._propose(slot, passed):
            self._proposed[slot] = basis

    def _tried(self, slot: Slot) -> list[int]:
        """Versions that were deployed there, whatever their outcome."""
        history = self.services.journal.history(slot)
        return [d.draft.to_version for d in history if d.state in TRIED and d.draft.to_version is not None]

    def _propose(self, slot: Slot, passed: Sequence[Evidence]) -> bool:
        """Open or update the one pull request. Returns False while a person's own pull request is open."""
        changes = {e.version: PinChange(slot.model, e.version, slot.environment, rolling=True) for e in passed}
        rolling = next(iter(changes.values()))
        closed = self.pulls.declined(rolling.branch, self.upstream.base)
        titles = [pull.title for pull in closed if not pull.body.startswith(SUPERSEDED)]
        declined = max((v for v, change in changes.items() if any(_is_of(change, t) for t in titles)), default=0)
        left = [evidence for evidence in passed if evidence.version > declined]
        if not left:
            return True
        opened = self.pulls.opened(self.upstream.base)
        if any(not pull.fork and rolling.replaces(pull.branch) for pull in opened):
            return False
        best = max(left, key=rank).version
        try:
            proposed = propose_promotion(self.services, self.upstream, changes[best])
        except Rejected as error:  # a second attempt would be refused too
            log.warning("%s v%d is not proposed: %s", slot.model, best, error)
        else:
            log.info("%s: %s", proposed.promotion.title, proposed.pull.url if proposed.pull else "pushed")
        return True


def rank(evidence: Evidence) -> tuple[float, int]:
    """Sort key, best last: accuracy or, without it, the gate's first check; of equal versions the newer is better."""
    checks = [verdict for verdict in evidence.verdicts if verdict.name != "data"] or evidence.verdicts
    first = next((verdict for verdict in checks if verdict.name == "accuracy"), checks[0])
    return (first.value if first.op.startswith(">") else -first.value, evidence.version)


def _is_of(change: PinChange, title: str) -> bool:
    """Whether a pull request had been opened, or last updated, for exactly this change."""
    return title.startswith(change.title(0).partition("(was ")[0])
