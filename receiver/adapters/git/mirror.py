"""The watched branch, through a bare mirror: fetched, read at one commit, never checked out.

Whatever state a crash, a full disk or a person left the mirror in, the answer is either the branch as the remote has
it, the last one fetched (marked stale), or an error; never "the environment files are gone".
"""

import shutil
import threading
from contextlib import suppress
from pathlib import Path

from receiver.adapters.git.command import NETWORK_SECONDS, Git, GitFailed, parse_remote
from receiver.adapters.git.files import contains, fetch, read_files
from receiver.adapters.git.merge import merged_files
from receiver.adapters.git.proposed import fetched_beside
from receiver.adapters.git.turn import turn
from receiver.adapters.time_limit import time_limit
from receiver.core.backoff import Backoff
from receiver.core.errors import InvalidPins, Rejected, Retryable
from receiver.ports import Snapshot

CLONE_SECONDS = 600.0
SNAPSHOT_SECONDS = 2 * CLONE_SECONDS  # for all of it; each git program has a limit of its own
# What a killed git leaves: locks that stop the next one, and packs as large as what was fetched. The folders of loose
# objects, which may be thousands, have none.
LEFT = (
    (".", "*.lock"),
    ("refs", "**/*.lock"),
    ("objects/info", "**/*.lock"),
    ("objects/pack", "*.lock"),
    ("objects/pack", "tmp_*"),
)


class GitSource:
    """:class:`receiver.ports.Source` over git. Several processes may share the mirror; they take turns.

    ``url`` and ``branch`` come from the settings, never from a payload; ``token`` is for an https remote. ``stop``
    ends the git programs of a fetch that hangs, so that none outlives the receiver.
    """

    def __init__(
        self,
        url: str,
        branch: str,
        mirror_path: Path,
        *,
        token: str | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._remote = parse_remote(url, token)
        self._branch = branch
        self._ref = f"refs/heads/{branch}"
        self._refspec = f"+{self._ref}:{self._ref}"
        self._mirror = mirror_path
        self._stop = stop
        self._failures = 0  # of fetches in a row
        self._check_branch()

    def snapshot(self) -> Snapshot:
        """Fetch the branch head and read the environment files there.

        Rejected: the branch is gone. InvalidPins: a file is no regular file of at most 64 KiB.
        Retryable: the remote cannot be reached and nothing was ever fetched.
        """
        with time_limit(SNAPSHOT_SECONDS, self._stop), turn(self._mirror) as descriptor:
            git = Git(self._mirror, self._remote, (descriptor,))
            before = self._head(git)
            stale = self._bring_up_to_date(git, before)
            snapshot = self._read(git, before, stale)
            if snapshot.commit != before:
                _tidy(git)
            return snapshot

    def pull_request(self, number: int) -> Snapshot:
        """Read what the branch would hold with a pull request merged, also a fork's, as data.

        The snapshot's commit is the pull request's head.

        InvalidPins: it conflicts, or a file is no regular one. Retryable: the remote cannot be reached, or has no
        such pull request: a new one can be fetched a moment after GitHub speaks of it.
        """
        with turn(self._mirror) as descriptor:
            git = Git(self._mirror, self._remote, (descriptor,))
            self._bring_up_to_date(git, self._head(git))
            try:
                with fetched_beside(git, f"refs/pull/{number:d}/head") as (aside, commit):
                    try:
                        files = merged_files(aside, self._head(git) or self._ref, commit)
                    except Rejected as error:
                        raise InvalidPins(str(error), commit) from error
            except GitFailed as error:
                reason = f"{self._remote.url} has no pull request {number} that can be read: {error}"
                raise Retryable(self._why_unreachable(git) or reason) from error
        return Snapshot(commit, files, rewritten=False)

    def _check_branch(self) -> None:
        try:
            Git(self._mirror, self._remote)("check-ref-format", self._ref)
        except GitFailed:
            raise Rejected(
                f"PINRAIL_BRANCH: found {self._branch!a}, allowed a branch's name like main: correct it"
            ) from None

    def _head(self, git: Git) -> str | None:
        try:
            return git("rev-parse", "--verify", "--quiet", self._ref).decode().strip()
        except GitFailed:
            return None

    def _bring_up_to_date(self, git: Git, before: str | None) -> str | None:
        """Fetch. Returns None, or why the mirror stays where it was."""
        _remove_what_was_left(self._mirror)
        if before is None:
            self._rebuild(git)
            return None
        try:
            fetch(git, self._refspec, seconds=Backoff(NETWORK_SECONDS, CLONE_SECONDS).after(self._failures + 1))
        except Retryable as error:
            self._failures += 1  # the next fetch gets more time, so that a large push comes through in the end
            return str(error)
        except GitFailed:
            unreachable = self._why_unreachable(git)
            if unreachable is not None:
                return unreachable
            self._rebuild(git)  # the remote answers, so it is the mirror that is broken
        self._failures = 0
        return None

    def _why_unreachable(self, git: Git) -> str | None:
        """Ask the remote for the branch. Rejected: it has none of that name."""
        try:
            answer = git("ls-remote", "--", self._remote.url, self._ref, seconds=NETWORK_SECONDS)
        except (GitFailed, Retryable) as error:
            return f"PINRAIL_REPO_URL: {self._remote.url} cannot be read: {error}"
        if self._ref not in (line.partition("\t")[2] for line in answer.decode(errors="replace").splitlines()):
            raise Rejected(
                f"{self._remote.url} has no branch {self._branch!a}: what runs is kept as it is; "
                "push the branch again, or set PINRAIL_BRANCH"
            )
        return None

    def _rebuild(self, git: Git) -> None:
        """Clone beside the mirror, then put the clone in its place."""
        fresh = Git(self._mirror.with_name(self._mirror.name + ".new"), self._remote, git.keep)
        shutil.rmtree(fresh.directory, ignore_errors=True)
        try:
            fresh("init", "--quiet", "--bare", "--template=", "--", str(fresh.directory))
            fetch(fresh, self._refspec, seconds=CLONE_SECONDS)
        except GitFailed as error:
            raise Retryable(self._why_unreachable(fresh) or str(error)) from error
        shutil.rmtree(self._mirror, ignore_errors=True)
        try:
            fresh.directory.rename(self._mirror)
        except OSError as error:
            raise Retryable(f"cannot put a fresh clone at {self._mirror}: {error}") from error

    def _read(self, git: Git, before: str | None, stale: str | None) -> Snapshot:
        try:
            return self._read_as_it_is(git, before, stale)
        except GitFailed:  # damaged: what is missing here says nothing about the branch
            self._rebuild(git)
        try:
            return self._read_as_it_is(git, before, None)
        except GitFailed as error:
            raise Retryable(f"the mirror of {self._remote.url} cannot be read: {error}") from error

    def _read_as_it_is(self, git: Git, before: str | None, stale: str | None) -> Snapshot:
        commit = git("rev-parse", "--verify", f"{self._ref}^{{commit}}").decode().strip()
        rewritten = before is not None and before != commit and not contains(git, commit, before)
        try:
            return Snapshot(commit, read_files(git, commit), rewritten, stale)
        except Rejected as error:
            raise InvalidPins(str(error), commit) from error


def _tidy(git: Git) -> None:
    """Let git pack what has gathered. Apart from fetching, so that a slow tidying fails no fetch."""
    with suppress(GitFailed, Retryable):
        git("gc", "--auto", "--quiet")


def _remove_what_was_left(mirror: Path) -> None:
    """Whoever made them is gone: we have the turn, and every git holds it while it lives."""
    for where, pattern in LEFT:
        for left in (mirror / where).glob(pattern):
            left.unlink(missing_ok=True)
