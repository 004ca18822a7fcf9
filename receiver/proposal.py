"""From a pushed branch to a pull request: one per pin, the newest."""

from receiver.adapters.github_pulls import Proposal, Pull, Pulls
from receiver.promotion import Promotion


def propose(pulls: Pulls, promotion: Promotion, base: str, body: str) -> Pull:
    """Open the pull request of a promotion, or bring it up to date, and close those that it supersedes.

    Pull requests from forks are left alone whatever their branches are called. Safe to repeat.
    """
    pull = pulls.open_or_update(Proposal(promotion.branch, base, promotion.title, body))
    for other in pulls.opened(base):
        if not other.fork and other.number != pull.number and promotion.change.replaces(other.branch):
            pulls.close(other.number, f"Superseded by #{pull.number}.")
    return pull
