"""From a change of a pin to a pull request: one per pin, the newest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from receiver.adapters.git.command import Remote
from receiver.adapters.github.pulls import Pull, PullRequestSpec, Pulls
from receiver.core.redact import Redactor
from receiver.pull_requests.promotion import Promotion

SUPERSEDED = "<!-- pinrail:superseded -->\n"  # before the text of one that was closed here, and not by a person


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where changes are proposed. ``pulls`` None: there is no token, so a pushed branch has to do."""

    remote: Remote
    base: str  # branch
    pulls: Pulls | None
    redact: Redactor = field(default_factory=Redactor)  # what nobody there may read


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """A change that waits to be merged."""

    promotion: Promotion
    pull: Pull | None
    notes: Sequence[str]  # what to know before merging


def open_pull_request(
    pulls: Pulls, promotion: Promotion, base: str, body: str, gives_way: Callable[[Pull], bool] = lambda _: True
) -> Pull:
    """Open the pull request of a promotion, or bring it up to date, and close those that it supersedes.

    Pull requests from forks are left alone whatever their branches are called, and so are those that do not give
    way. Safe to repeat.
    """
    pull = pulls.open_or_update(PullRequestSpec(promotion.branch, base, promotion.title, body))
    for other in pulls.opened(base):
        superseded = not other.fork and other.number != pull.number and promotion.change.replaces(other.branch)
        if superseded and gives_way(other):
            pulls.close(other.number, f"Superseded by #{pull.number}.", SUPERSEDED + other.body)
    return pull
