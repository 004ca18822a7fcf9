"""Checks of live versions beside deployments: labels are joined to the log as either arrives, and judged.

The work is done by ``python -m ml.live``, a program of its own: what it loads does not stay in the receiver.
"""

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.environment.file import LivePolicy
from ml.live.figures import realised_line
from ml.live.label_store import LabelStore
from ml.live.labels import Decision, LabelsUnusable, Realised
from receiver.adapters import shell
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.deployment import last_verified
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import Announcement, Message, RealisedFigures, RevertNeeded
from receiver.core.pins import Desired, read_pins
from receiver.core.state import Slot
from receiver.ports import Journal, Outbox, Registry
from serving.lifecycle import launch

CHECK_SECONDS = 10.0
SOON_SECONDS = 10.0  # until labels without an answer are held against what is new in the log; twice as long each time
UNKNOWN_SECONDS = 300.0  # at most
LONGEST_SECONDS = 900.0
COMMENT_SECONDS = 3600.0
FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class LiveServices:
    """What the checks need of the outside. ``proposes``: pull requests can be opened."""

    journal: Journal
    registry: Registry
    outbox: Outbox
    proposes: bool


class LiveChecks:
    """Runs the program where there is something to do, and publishes what it decides."""

    def __init__(self, state: Path, services: LiveServices) -> None:
        self._directories = LogDirectories(state)
        self._store = LabelStore(self._directories.root)
        self._services = services
        self._next = 0.0  # monotonic
        self._pause = UNKNOWN_SECONDS
        self._asked: Sequence[Mapping[str, Any]] | None = None  # at the last run

    def run(self, stop: threading.Event) -> float:
        """Join and judge labels. Returns when to see again, in seconds since the epoch. Retryable: it failed."""
        began = time.monotonic()
        if self._store.file.exists():
            try:
                self._check(stop)
            except LabelsUnusable as error:
                raise Retryable(str(error)) from error
        return time.time() + max(CHECK_SECONDS, time.monotonic() - began)  # at most half the time is spent on it

    def _check(self, stop: threading.Event) -> None:
        waiting, pins = self._store.waiting(), self._pins()
        asked = [
            {"environment": slot.environment, "model": slot.model, "version": version}
            | {"least": policy.accuracy, "labels": policy.labels}
            for slot, version, policy in self._policies(pins)
        ]
        problem = ""
        late = waiting.unknown and time.monotonic() >= self._next
        if waiting.changed or late or asked != self._asked:
            self._pause = SOON_SECONDS if waiting.changed else min(2 * self._pause, UNKNOWN_SECONDS)
            self._next = time.monotonic() + self._pause
            problem = self._measure(asked, stop)
            self._asked = asked
        for slot, version, policy in self._policies(pins):
            for decision in self._store.decisions():
                of = Slot(decision.environment, decision.model), decision.version, decision.least
                if of == (slot, version, policy.accuracy) and decision.outcome == FAIL:
                    self._publish(slot, decision, policy)
        self._note_gates()
        if self._services.proposes:
            self._comment()
        if problem:
            raise Retryable(f"labels could not be joined to the inference log: {problem}", UNKNOWN_SECONDS)

    def _measure(self, asked: Sequence[Mapping[str, Any]], stop: threading.Event) -> str:
        """Return what went wrong; empty: nothing."""
        done = shell.run(
            [sys.executable, "-P", "-m", "ml.live", str(self._directories.all_parquet)],
            environment=launch.environment(os.environ, registry=False),
            timeout=LONGEST_SECONDS,
            stdin=json.dumps(asked).encode(),
            stop=stop,
        )
        return "" if done.status == 0 else (done.stderr.strip().splitlines() or ["it said nothing"])[-1]

    def _pins(self) -> Desired:
        last = self._services.journal.remembered_pins()
        try:
            return read_pins(last.files) if last is not None else Desired(())
        except Rejected:  # an earlier Pinrail's, which this one would not accept
            return Desired(())

    def _policies(self, pins: Desired) -> list[tuple[Slot, int, LivePolicy]]:
        """What is asked of the pinned versions that serve."""
        verified = self._services.journal.verified()
        found = []
        for environment in pins.environments:
            for model, pin in environment.models.items():
                slot = Slot(environment.name, model)
                serves = slot in verified and verified[slot].version == pin.version
                if environment.live is not None and serves:
                    found.append((slot, pin.version, environment.live))
        return found

    def _publish(self, slot: Slot, decision: Decision, policy: LivePolicy) -> None:
        """Say once that labels have found a version out, and ask for the revert where the policy does."""
        back_to = self._back_to(slot, decision)
        what, follows = f"{slot.model} v{decision.version} in {slot.environment}", ""
        messages: list[Message] = []
        if back_to is None:
            follows = "No earlier version was verified there"
        elif policy.reverts and self._services.proposes:
            follows = f"A pull request for the way back to v{back_to} is opened"
            reverted = decision.version, back_to, decision.says
            messages.append(RevertNeeded(slot.environment, slot.model, *reverted, by_labels=True))
        else:
            command = f"pinrail rollback {slot.environment} {slot.model} --to {back_to}"
            follows = f"`{command}` proposes the way back to v{back_to}"
        notice = Announcement(f"{what} is worse than allowed, labels say", f"{decision.says}.\n{follows}.")
        key = f"{slot} v{decision.version}: {decision.metric} is not {decision.least!r}, {policy.reverts}"
        if decision.turn > 1:  # it was decided otherwise in between
            key += f", {decision.turn}"
        self._services.outbox.put_once(key, notice, *messages)

    def _back_to(self, slot: Slot, failed: Decision) -> int | None:
        journal = self._services.journal
        worse = {
            found.version
            for found in self._store.decisions()
            if (Slot(found.environment, found.model), found.outcome, found.least) == (slot, FAIL, failed.least)
        }
        held = {entry.version for entry in journal.quarantined() if entry.slot == slot}
        found = last_verified(journal.history(slot), {failed.version, *worse, *held})
        return found.version if found is not None else None

    def _comment(self) -> None:
        """Have the figures of each version shown where it was promoted; small changes once an hour."""
        found: dict[tuple[str, str, int], list[Realised]] = defaultdict(list)
        for each in self._store.realised():
            found[each.environment, each.model, each.version].append(each)
        commented = self._store.commented()
        for of, figures in found.items():
            lines, (before, at) = [realised_line(each) for each in figures], commented.get(of, ([], 0.0))
            is_due = abs(time.time() - at) > COMMENT_SECONDS or _outcomes(lines) != _outcomes(before)
            if lines != before and is_due:
                self._services.outbox.put(RealisedFigures(*of, lines))
                self._store.note_comment(of, lines)

    def _note_gates(self) -> None:
        """Put what the gate measured beside what labels say."""
        for environment, model, version, metrics in self._store.without_gate():
            try:
                evidence = self._services.registry.evidence(model, version, environment)
            except Retryable:
                continue
            except Rejected:  # it is damaged, or the version is gone: nothing was measured that can be shown
                evidence = None
            measured = {v.name: v.value for v in evidence.verdicts} if evidence is not None else {}
            self._store.note_gate((environment, model), version, {name: measured.get(name) for name in metrics})


def _outcomes(lines: Sequence[str]) -> list[str]:
    return [word for line in lines for word in ("PASS", "FAIL") if word in line]
