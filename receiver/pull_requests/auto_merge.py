"""Which pull requests are merged automatically: Pinrail's own promotions, if policy allows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from receiver.core.edit import edit_pin
from receiver.core.errors import PinrailError
from receiver.core.pins import Desired, path_of
from receiver.ports import Snapshot
from receiver.pull_requests.plan_comment import PullRequestPlan
from receiver.pull_requests.promotion import PinChange


@dataclass(frozen=True, slots=True)
class MergeCandidate:
    """What merging by policy needs to know of a pull request from this repository."""

    branch: str
    paths: Sequence[str]  # that it changes
    files: Mapping[str, bytes]  # the environment files as a merge would leave them


def mergeable(base: tuple[Snapshot, Desired], proposed: MergeCandidate, plan: PullRequestPlan) -> str | None:
    """The subject to merge with now; None: a person has to merge it, or something is in the way."""
    return merged_by_policy(base, proposed, plan) if plan.state == "success" else None


def merged_by_policy(base: tuple[Snapshot, Desired], proposed: MergeCandidate, plan: PullRequestPlan) -> str | None:
    """The subject to merge with once nothing is in the way; None if a person has to merge it.

    The base branch's policy counts: a pull request cannot change its own policy. Whatever its title says, its only
    effect must be one promoted version, on the branch that belongs to that promotion.
    """
    snapshot, desired = base
    if len(plan.changes) != 1:
        return None
    (change,) = plan.changes
    model, path = change.slot.model, path_of(change.slot.environment)
    allowed = any(e.name == change.slot.environment and e.auto_merge for e in desired.environments)
    if not allowed or change.old is None or change.new is None or change.override is not None:
        return None
    if change.outdated is not None or any(entry.manual for entry in change.lifts):
        return None  # what a person took out, only a person lets in again
    try:
        expected = {**snapshot.files, path: edit_pin(snapshot.files[path], model, change.new, path)}
    except PinrailError:
        return None
    promotions = [PinChange(model, change.new, change.slot.environment, rolling=rolling) for rolling in (False, True)]
    ours = next((promotion for promotion in promotions if promotion.branch == proposed.branch), None)
    if ours is None or list(proposed.paths) != [path] or dict(proposed.files) != expected:
        return None
    return ours.title(change.old)
