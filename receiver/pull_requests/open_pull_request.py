"""Opens the pull request of a pin change, and closes older ones for the same pin."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from receiver.adapters.git.command import Remote
from receiver.adapters.github.pulls import Pull, PullRequestSpec, Pulls
from receiver.core.redact import Redactor
from receiver.pull_requests.promotion import PinChange, Promotion, push_promotion_branch

SUPERSEDED = "<!-- pinrail:superseded -->\n"  # marks a pull request that was closed here and not by a person


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where changes are proposed. ``pulls`` None: there is no token, so only the branch is pushed."""

    remote: Remote
    base: str  # branch
    pulls: Pulls | None
    redact: Redactor = field(default_factory=Redactor)  # masks secrets in what is published there


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """A change that waits to be merged."""

    promotion: Promotion
    pull: Pull | None
    notes: Sequence[str]  # what to know before merging


def push_change(upstream: Upstream, change: PinChange) -> Promotion:
    """Push the branch of a change, as :func:`push_promotion_branch` does."""
    pulls, is_open = upstream.pulls, None
    if pulls is not None:
        is_open = partial(pulls.has_open, change.branch, upstream.base)
    return push_promotion_branch(upstream.remote, upstream.base, change, is_open=is_open)


def open_pull_request(
    pulls: Pulls, promotion: Promotion, base: str, body: str, may_close: Callable[[Pull], bool] = lambda _: True
) -> Pull:
    """Open the pull request of a promotion, or bring it up to date, and close those that it supersedes.

    Pull requests from forks are left alone whatever their branches are called, and so are those for which
    ``may_close`` is false. Safe to repeat.
    """
    pull = pulls.open_or_update(PullRequestSpec(promotion.branch, base, promotion.title, body))
    for other in pulls.opened(base):
        superseded = not other.fork and other.number != pull.number and promotion.change.replaces(other.branch)
        if superseded and may_close(other):
            pulls.close(other.number, f"Superseded by #{pull.number}.", SUPERSEDED + other.body)
    return pull
