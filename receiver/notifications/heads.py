"""The commit status of a branch head for which nothing was deployed: in sync, not valid, or not to be judged yet.

Each commit that changes an environment's file ends with a status of that environment; where something was deployed,
``progress.py`` has told it. What was told last is kept, so a crash loses nothing, and nothing is told twice.
"""

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from receiver.adapters.github.sender import CHANNEL, status_message
from receiver.adapters.github.statuses import CommitStatus
from receiver.adapters.sqlite.journal import Told
from receiver.core.commit_status import DRIFT, Standing, standings, sum_up
from receiver.core.deployment import Outcome
from receiver.core.errors import InvalidPins
from receiver.core.pins import environment_of, path_of
from receiver.notifications.progress import context_of, end_left_behind, held_at, tell_left_behind
from receiver.planning.observe import Finding, Look
from receiver.services import Services

log = logging.getLogger(__name__)

Message = dict[str, Any]


def tell_head(services: Services, seen: Look, findings: Iterable[Finding]) -> None:
    """Tell how the pins stand that the head changed, where no deployment tells it. A bug in here fails nothing."""
    try:
        told = services.journal.told()
        found = [standing for finding in findings if (standing := _standing(finding, heal=services.heal))]
        for environment in seen.desired.environments:
            before = told.get(environment.name)
            now = Told(seen.snapshot.commit, _digest(seen.snapshot.files[path_of(environment.name)]))
            if before is None or before.pins != now.pins or before.pending:
                here = [standing for standing in found if standing.slot.environment == environment.name]
                _tell(services, environment.name, before, now, here)
    except Exception:
        log.exception("how the pins stand could not be told to GitHub")


def tell_invalid(services: Services, error: InvalidPins) -> None:
    """Tell every environment's status at a head whose pins are not valid: nothing of it is deployed."""
    try:
        told = services.journal.told()
        lines = str(error).split("\n")
        last = services.journal.remembered_pins()
        for name in sorted(set(filter(None, map(environment_of, [*lines, *(last.files if last else ())])))):
            before, now = told.get(name), Told(error.commit, _digest(str(error).encode()))
            if now != before:
                own = next((line for line in lines if environment_of(line) == name), lines[0])
                said = f"1 of {len(lines)}: {own}" if len(lines) > 1 else own
                status = CommitStatus(error.commit, context_of(name), "failure", said)
                _put(services, name, now, [status_message(status), *_superseded(name, before, now)])
    except Exception:
        log.exception("that the pins are not valid could not be told to GitHub")


def _standing(finding: Finding, *, heal: bool) -> Standing | None:
    """How a pin stands as far as no deployment says it; None where there is no pin, or healing says it."""
    slot, version = finding.slot, finding.pinned
    if version is None:
        return None
    if finding.retry is not None:
        return Standing(slot, version, Outcome.WAITING, finding.retry)
    if finding.hold is not None:
        return Standing(slot, version, finding.hold.state, finding.hold.reason)
    if not finding.actions:
        return Standing(slot, version, Outcome.LIVE)
    if not finding.drift:
        return Standing(slot, version, Outcome.WAITING, "another model still has its port")
    drifted = f"PINRAIL_HEAL is off, and this is otherwise: {finding.actions[0]}"
    return None if heal else Standing(slot, version, Outcome.WAITING, drifted)


def _tell(services: Services, name: str, before: Told | None, now: Told, found: Sequence[Standing]) -> None:
    """Tell of one environment at ``now``'s commit or, where only a wait has ended, at the commit that waited."""
    deployments, held = services.journal.at(now.revision, name), held_at(services, name, now.revision)
    state, said = sum_up(standings(deployments, held, found))
    spoken = {d.draft.slot for d in deployments if d.draft.cause != DRIFT}
    complete = spoken and all(s.outcome is Outcome.LIVE or s.slot in spoken for s in found)
    if before is not None and before.pins == now.pins and before.revision != now.revision:
        if state == "pending":
            return
        told = CommitStatus(before.revision, context_of(name), state, f"{said} (at {now.revision[:7]})")
        _put(services, name, replace(before, pending=""), [status_message(told)])
        return
    told = CommitStatus(now.revision, context_of(name), state, said)
    news = [] if complete else [status_message(told)]
    news += _superseded(name, before, now)
    for standing in found:
        if standing.outcome is Outcome.LIVE:
            news += tell_left_behind(services, standing.slot, standing.version, told)
            news += end_left_behind(services, standing.slot, now.revision)
    now = replace(now, pending=_digest(said.encode()) if state == "pending" and not complete else "")
    if now != before:
        _put(services, name, now, news)


def _superseded(name: str, before: Told | None, now: Told) -> Iterator[Message]:
    """What an earlier commit waited for does not come any more."""
    if before is not None and before.pending and before.revision != now.revision:
        told = CommitStatus(before.revision, context_of(name), "error", f"followed by {now.revision[:7]}")
        yield status_message(told)


def _put(services: Services, name: str, now: Told, messages: Iterable[Message]) -> None:
    def put(db: sqlite3.Connection) -> None:
        for message in messages:
            services.outbox.put(CHANNEL, message, db)

    services.journal.tell(name, now, put)


def _digest(content: bytes) -> str:
    """What tells one text from another and, unlike the text, can be kept: nobody vouches for what is in it."""
    return hashlib.sha256(content).hexdigest()
