"""Which pull requests are merged without a person: promotions as Pinrail proposes them, where policy says so."""

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
    """A pull request from this repository, as far as it matters here."""

    branch: str
    paths: Sequence[str]  # that it changes
    files: Mapping[str, bytes]  # the environment files as a merge would leave them


def mergeable(base: tuple[Snapshot, Desired], proposed: MergeCandidate, plan: PullRequestPlan) -> str | None:
    """Say with which subject to merge, or None where a person has to.

    The policy that counts is that of the base: a pull request cannot allow itself anything. Whatever its title says,
    its whole effect must be one promoted version, on the branch that a promotion of it has.
    """
    snapshot, desired = base
    if plan.state != "success" or len(plan.changes) != 1:
        return None
    (change,) = plan.changes
    model, path = change.slot.model, path_of(change.slot.environment)
    allowed = any(e.name == change.slot.environment and e.auto_merge for e in desired.environments)
    if not allowed or change.old is None or change.new is None or change.override is not None:
        return None
    try:
        expected = {**snapshot.files, path: edit_pin(snapshot.files[path], model, change.new, path)}
    except PinrailError:
        return None
    promotions = [PinChange(model, change.new, change.slot.environment, rolling=rolling) for rolling in (False, True)]
    ours = next((promotion for promotion in promotions if promotion.branch == proposed.branch), None)
    if ours is None or list(proposed.paths) != [path] or dict(proposed.files) != expected:
        return None
    return ours.title(change.old)
