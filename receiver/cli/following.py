"""Following the deployments of one slot from the journal alone: each step as it ends, also across receivers."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.state_lock import holder
from receiver.core.deployment import Deployment, Outcome, Step
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.core.times import iso, local

POLL_SECONDS = 0.5


def program_began() -> float:
    """When this program was started, at the latest; seconds since the epoch.

    What ends while its imports go on is what the person wants to see.
    """
    return time.time() - time.process_time()


@dataclass
class Follower:
    """Says what happens in a slot, each thing once."""

    journal: SqliteJournal
    slot: Slot
    since: float  # what ended before is of no interest
    say: Callable[[str], None]
    receiver_runs: Callable[[], bool] = lambda: True
    _steps_said: dict[int, int] = field(default_factory=dict)
    _over: set[tuple[int, int]] = field(default_factory=set)  # deployments and repetitions whose end was said
    _ran: bool = True

    def ended(self) -> Iterator[Deployment]:
        """Say what is new, and return the deployments that have ended since the last call, oldest first."""
        self._say_whether_a_receiver_runs()
        for found in self.journal.history(self.slot):
            passed = found.ended_at is not None and found.ended_at < self.since
            if passed or (found.id, found.repeats) in self._over:
                continue
            if found.id not in self._steps_said:
                self._steps_said[found.id] = 0
                versions = f"{_version(found.draft.from_version)} -> {_version(found.draft.to_version)}"
                self.say(f"{_time(found.started_at)} deployment {found.id}: {versions}, by {found.draft.cause}")
            finished = [step for step in self.journal.steps(found.id) if step.result is not None]
            for step in finished[self._steps_said[found.id] :]:
                self.say(_line(step))
            self._steps_said[found.id] = len(finished)
            if found.state.terminal:
                self._over.add((found.id, found.repeats))
                self.say(_end(found))
                yield found

    def _say_whether_a_receiver_runs(self) -> None:
        runs = self.receiver_runs()
        if runs != self._ran:
            self.say(
                "a receiver runs again" if runs else "no receiver runs, so nothing goes on: `pinrail up` starts it"
            )
        self._ran = runs


def follower(journal: SqliteJournal, state: Path, redact: Redactor, slot: Slot, *, errors: bool = False) -> Follower:
    """One that prints, on standard error where ``errors``."""
    stream = sys.stderr if errors else sys.stdout

    def say(line: str) -> None:
        stream.write(f"{redact.line(line)}\n")
        stream.flush()

    return Follower(journal, slot, program_began(), say, lambda: holder(state) is not None)


def _end(found: Deployment) -> str:
    reason = found.reason.partition("\n")[0]
    goes_on = "; it goes on by itself" if found.state is Outcome.INTERRUPTED else ""
    return f"{_time(found.ended_at or found.started_at)} {found.state}{reason and ': ' + reason}{goes_on}"


def _line(step: Step) -> str:
    result = (step.result or "").partition("\n")[0]
    seconds = (step.ended_at or step.started_at) - step.started_at
    return f"{_time(step.started_at)}   {step.action}: {result}, {seconds:.1f} s"


def _version(version: int | None) -> str:
    return "nothing" if version is None else f"v{version}"


def _time(seconds: float) -> str:
    return local(iso(seconds)).partition(" ")[2]
