"""``pinrail watch``: the steps of one slot's deployment as they happen, and how it ends, from the journal alone."""

import sys
import time
from collections.abc import Callable

from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.state_lock import holder
from receiver.core.deployment import Deployment, Outcome, Step
from receiver.core.errors import Rejected, Retryable
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.core.times import iso, local
from receiver.planning.on_record import unknown_slot
from receiver.settings import load_settings
from receiver.wiring import open_database

POLL_SECONDS = 0.5


def watch(slot: Slot, timeout: float) -> bool:
    """Follow the deployment that runs there, or the next one; returns whether it went live.

    Rejected: no such slot was ever seen. Retryable: none has ended within so many seconds.
    """
    settings = load_settings()
    journal, redact = SqliteJournal(open_database(settings)), Redactor(settings.secrets)
    unknown = unknown_slot(journal, slot.environment, slot.model)
    if unknown is not None:
        raise Rejected(unknown)
    if holder(settings.pinrail_state_dir) is None:
        sys.stderr.write(f"no receiver runs on {settings.pinrail_state_dir}: `pinrail up` starts it\n")
    ended = follow(journal, slot, time.monotonic() + timeout, lambda line: _print(redact.line(line)))
    if ended is None:
        raise Retryable(f"no deployment of {slot} has ended within {timeout:g} s: see `pinrail status`")
    return ended.state is Outcome.LIVE


def follow(
    journal: SqliteJournal,
    slot: Slot,
    deadline: float,
    say: Callable[[str], None],
    poll_seconds: float = POLL_SECONDS,
) -> Deployment | None:
    """Say each step of the deployment that runs or comes next; returns it when it has ended, None at the deadline."""
    before = max((d.id for d in journal.history(slot) if d.state.terminal), default=0)
    begun: set[int] = set()
    said = 0
    while True:
        found = next((d for d in journal.history(slot) if d.id > before), None)
        if found is not None:
            if found.id not in begun:
                begun.add(found.id)
                say(f"{_time(found.started_at)} deployment {found.id}: {_versions(found)}, by {found.draft.cause}")
            finished = [step for step in journal.steps(found.id) if step.result is not None]
            for step in finished[said:]:
                say(_line(step))
            said = len(finished)
            if found.state.terminal:
                reason = found.reason.partition("\n")[0]
                say(f"{_time(found.ended_at or found.started_at)} {found.state}{reason and ': ' + reason}")
                return found
        if time.monotonic() >= deadline:
            return None
        time.sleep(poll_seconds)


def _line(step: Step) -> str:
    result = (step.result or "").partition("\n")[0]
    seconds = (step.ended_at or step.started_at) - step.started_at
    return f"{_time(step.started_at)}   {step.action}: {result}, {seconds:.1f} s"


def _versions(deployment: Deployment) -> str:
    names = (
        "nothing" if v is None else f"v{v}" for v in (deployment.draft.from_version, deployment.draft.to_version)
    )
    return " -> ".join(names)


def _time(seconds: float) -> str:
    return local(iso(seconds)).partition(" ")[2]


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
