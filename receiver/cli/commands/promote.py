"""``pinrail promote``, and the answer that it shares with ``pinrail rollback``: a change to be merged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from receiver.cli.output import answer
from receiver.cli.progress import progress
from receiver.cli.requests import change_operations
from receiver.cli.waiting import Wait, require_receiver
from receiver.core.deployment import Outcome
from receiver.core.redact import plain
from receiver.pull_requests.open_pull_request import ProposedChange
from receiver.pull_requests.promotion import PinChange, Promotion
from receiver.settings import load_settings
from receiver.wiring import build, open_database


@dataclass(frozen=True, slots=True)
class ProposalView(Promotion):
    """A change to be merged: ``pinrail promote --json`` and ``pinrail rollback --json``."""

    pull_request: str | None
    """Its URL; null: without a token only the branch was pushed."""
    notes: Sequence[str]
    """What to know before merging."""
    outcome: str | None = None
    """With ``--wait``, how its deployment ended, or ``closed`` where it was not merged, or ``superseded`` where
    another version was deployed meanwhile; else null."""


def show_promotion(change: PinChange, timeout: float | None, *, as_json: bool) -> bool:
    """Propose a pin, if the receiver would accept it, and print the proposal.

    With ``timeout`` wait for so many seconds until it is deployed; returns whether it is live. Without, True.
    """
    settings = load_settings("pinrail_repo_url")
    services = build(settings, open_database(settings))
    if timeout is not None:
        require_receiver(settings)
    with progress(f"checking {change.model} v{change.version}, and proposing it ..."):
        proposed = change_operations(settings, services).promote(change)
    if timeout is None or not as_json:
        show_proposed(proposed, as_json=as_json)
    if timeout is None:
        return True
    outcome = Wait(settings, services, change, proposed).outcome(timeout)
    if as_json:
        answer(replace(_view(proposed), outcome=outcome), _text, json_wanted=True)
    return outcome == Outcome.LIVE


def show_proposed(proposed: ProposedChange, *, as_json: bool) -> None:
    """Print the change, its branch and pull request, and what to know before the merge."""
    answer(_view(proposed), _text, json_wanted=as_json)


def _view(proposed: ProposedChange) -> ProposalView:
    promotion = {field.name: getattr(proposed.promotion, field.name) for field in fields(proposed.promotion)}
    return ProposalView(**promotion, pull_request=proposed.pull.url if proposed.pull else None, notes=proposed.notes)


def _text(view: ProposalView) -> str:
    return "".join(f"{line}\n" for line in _lines(view))


def _lines(view: ProposalView) -> Iterator[str]:
    yield view.title
    yield f"{'already pushed' if view.existing else 'pushed'}: {view.branch} at {view.commit[:12]}"
    yield from (f"note: {plain(note)}" for note in view.notes)
    if view.pull_request is not None:
        yield f"pull request: {view.pull_request}"
    elif view.compare:
        yield f"open the pull request: {view.compare}"
    else:
        yield f"no GitHub there: merge {view.branch} by hand"
