"""Plans on pull requests: what each open one that touches the environments would do, as a comment and a status.

Each run asks GitHub for the open pull requests and reads their contents from git, as data; a webhook only triggers a
run. Plans are computed anew and written if they differ from what was written last. So nothing has to survive a crash,
and while GitHub is down the update is deferred.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from receiver.adapters.github.client import MAX_ITEMS
from receiver.adapters.github.pulls import Pull, Pulls
from receiver.adapters.github.statuses import Statuses
from receiver.core.errors import InvalidPins, PinrailError, Rejected, Retryable
from receiver.core.messages import CommitStatus
from receiver.core.pins import Desired, is_environment_file, read_pins
from receiver.core.redact import Redactor, plain
from receiver.ports import Snapshot, Source
from receiver.pull_requests.auto_merge import MergeCandidate, mergeable, merged_by_policy
from receiver.pull_requests.plan_comment import PullRequestPlan
from receiver.pull_requests.plan_pull_request import plan_pull_request
from receiver.pull_requests.revert import outdated, unsealed
from receiver.services import Services

log = logging.getLogger(__name__)

CONTEXT = "pinrail/plan"
MARKER = "plan"
LAG_SECONDS = 5.0  # until a commit that GitHub speaks of can be fetched


class PullRequestSource(Source, Protocol):
    """The repository with its pull requests."""

    def pull_request(self, number: int) -> Snapshot:
        """What the branch would hold with that pull request merged; the commit is the pull request's head."""
        ...


@dataclass(frozen=True, slots=True)
class GitHub:
    """The repository there. ``source`` has a mirror of its own: deployments do not wait for it."""

    source: PullRequestSource
    pulls: Pulls
    statuses: Statuses
    branch: str
    redact: Redactor


@dataclass
class _Known:
    """Cached facts about one pull request: what need not be read or published again."""

    head: str = ""
    paths: Sequence[str] | None = ()  # that it changes; None: GitHub cannot say, such as of a diff that is too large
    merged_from: tuple[str, str] | None = None  # head, base
    merged: Snapshot | InvalidPins | None = None
    published: object = None
    trouble: str = ""  # what GitHub refused last: logged once, not at every run


@dataclass
class Reviewer:
    """Plans all open pull requests, one at a time, on one thread."""

    services: Services
    github: GitHub
    _known: dict[int, _Known] = field(default_factory=dict, init=False)

    def run(self, stop: threading.Event) -> float:
        """Plan every open pull request, publish what changed. Returns when a soak ends, in seconds since the epoch.

        Retryable: git or GitHub cannot be asked, or GitHub asks for a pause.
        """
        opened = self.github.pulls.opened(self.github.branch)
        self._known = {pull.number: self._known.get(pull.number, _Known()) for pull in opened}
        touching: list[Pull] = []
        deferred: list[Retryable] = []
        for pull in opened:
            with self._alone(pull, deferred):
                if self._touches(pull):
                    touching.append(pull)
                else:
                    self._pass(pull)
        base = self.github.source.snapshot() if touching else None
        next_check_at = math.inf
        for pull in touching:
            if stop.is_set() or base is None:
                break
            with self._alone(pull, deferred):
                next_check_at = min(next_check_at, self._review(pull, base))
        if deferred:
            raise deferred[0]
        return next_check_at

    @contextmanager
    def _alone(self, pull: Pull, deferred: list[Retryable]) -> Iterator[None]:
        """An error of one pull request does not delay the others."""
        try:
            yield
        except Retryable as error:
            if error.after is not None:  # GitHub counts our calls
                raise
            deferred.append(error)
        except Rejected as error:
            self._note(pull, str(error))
        except Exception:
            log.exception("pull request %d: a bug", pull.number)

    def _touches(self, pull: Pull) -> bool:
        known = self._known[pull.number]
        if known.head != pull.head:
            try:
                known.paths = self.github.pulls.changed_paths(pull.number)
            except Rejected as error:  # git can still tell
                known.paths = None
                self._note(pull, f"its changed files are not known: {error}")
            known.head = pull.head
        paths = known.paths
        return paths is None or len(paths) >= MAX_ITEMS or any(map(is_environment_file, paths))

    def _pass(self, pull: Pull) -> None:
        """Where the plan is a required check, a pull request without one could never be merged."""
        known, plan = self._known[pull.number], PullRequestPlan(pull.head)
        published = (plan.commit, plan.state, plan.summary)
        if known.published == published:
            return
        if known.published is None:
            self.github.statuses.mark(CommitStatus(plan.commit, CONTEXT, plan.state, plan.summary))
        else:  # it may have had a plan, which its comment would still show
            self._publish(pull, plan)
        known.published = published

    def _review(self, pull: Pull, base: Snapshot) -> float:
        known = self._known[pull.number]
        desired = _pins(base)
        obsolete = outdated(pull, desired) if desired is not None and base.stale is None else None
        if obsolete is not None:
            self.github.pulls.close(pull.number, obsolete, unsealed(pull))
            log.info("pull request %d was closed: %s", pull.number, obsolete)
            return math.inf
        proposed = self._merged(known, pull, base)
        if proposed.commit != pull.head:  # GitHub updates its API and its refs one after the other
            return time.time() + LAG_SECONDS
        if isinstance(proposed, InvalidPins):
            plan = PullRequestPlan(proposed.commit, problem=str(proposed))
        else:
            plan = plan_pull_request(self.services, desired, proposed)
        if isinstance(proposed, Snapshot) and desired is not None and not pull.fork:
            candidate = MergeCandidate(pull.branch, known.paths or (), proposed.files)
            plan = replace(plan, by_policy=merged_by_policy((base, desired), candidate, plan) is not None)
        safe = self.github.redact.within(plan)
        published = (safe.commit, safe.comment(), safe.state, safe.summary)
        if known.published != published:
            self._publish(pull, safe)
            known.published = published
        if isinstance(proposed, Snapshot) and desired is not None and not pull.fork:
            subject = mergeable((base, desired), MergeCandidate(pull.branch, known.paths or (), proposed.files), plan)
            if subject is not None:
                self._merge(pull, subject)
        return plan.next_check_at

    def _merged(self, known: _Known, pull: Pull, base: Snapshot) -> Snapshot | InvalidPins:
        """Ask git only if head or base have moved, or the head could not be fetched yet."""
        now = (pull.head, base.commit)
        if known.merged is None or known.merged.commit != pull.head or known.merged_from != now:
            try:
                known.merged = self.github.source.pull_request(pull.number)
            except InvalidPins as error:
                known.merged = error
            known.merged_from = now
        return known.merged

    def _publish(self, pull: Pull, plan: PullRequestPlan) -> None:
        """The status goes last, so that whoever waits for it finds the comment."""
        status = CommitStatus(plan.commit, CONTEXT, plan.state, plain(plan.summary))
        try:
            url = self.github.pulls.comment(pull.number, MARKER, plan.comment())
        except Rejected:  # such as in a locked conversation; a required status is needed there too
            self.github.statuses.mark(status)
            raise
        self.github.statuses.mark(replace(status, url=url))
        log.info("pull request %d: %s: %s", pull.number, plan.state, status.description)

    def _note(self, pull: Pull, trouble: str) -> None:
        known = self._known[pull.number]
        if known.trouble != trouble:
            log.warning("pull request %d: %s", pull.number, trouble)
        known.trouble = trouble

    def _merge(self, pull: Pull, subject: str) -> None:
        """Merge exactly what was planned. GitHub may still refuse: other checks, reviews, a head that moved."""
        try:
            self.github.pulls.merge(pull, f"{subject} (#{pull.number})")
        except Rejected as error:
            self._note(pull, f"not merged yet: {error}")
        else:
            log.info("pull request %d was merged by policy: %s", pull.number, subject)


def _pins(base: Snapshot) -> Desired | None:
    """The pins now; None if the files are not valid, which the fetcher has reported already."""
    try:
        return read_pins(base.files)
    except PinrailError:
        return None
