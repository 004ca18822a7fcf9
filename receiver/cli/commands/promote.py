"""``pinrail promote``, and the answer that it shares with ``pinrail rollback``: a change to be merged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from receiver.cli.output import answer
from receiver.cli.progress import progress
from receiver.cli.requests import change_operations
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


def show_promotion(change: PinChange, *, as_json: bool) -> None:
    """Propose a pin, if the receiver would accept it, and print the proposal."""
    settings = load_settings("pinrail_repo_url")
    with progress(f"checking {change.model} v{change.version}, and proposing it ..."):
        services = build(settings, open_database(settings))
        proposed = change_operations(settings, services).promote(change)
    show_proposed(proposed, as_json=as_json)


def show_proposed(proposed: ProposedChange, *, as_json: bool) -> None:
    """Print the change, its branch and pull request, and what to know before the merge."""
    promotion = {field.name: getattr(proposed.promotion, field.name) for field in fields(proposed.promotion)}
    view = ProposalView(**promotion, pull_request=proposed.pull.url if proposed.pull else None, notes=proposed.notes)
    answer(view, lambda found: "".join(f"{line}\n" for line in _lines(found)), json_wanted=as_json)


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
