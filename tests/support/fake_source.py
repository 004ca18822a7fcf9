"""A source of pins without git, for tests of what comes after it."""

import hashlib
from collections.abc import Mapping

from receiver.core.errors import Rejected, Retryable
from receiver.ports import Snapshot


class FakeSource:
    """A branch as a list of commits in memory. Keeps the contract in ``tests/contracts/source.py``."""

    def __init__(self) -> None:
        self.reachable = True
        self.branch_exists = True
        self._commits: list[Snapshot] = []
        self._last: list[Snapshot] = []  # the branch as it was at the last fetch

    def commit(self, files: Mapping[str, bytes]) -> str:
        """A new head with exactly these environment files. Returns its name."""
        count = len(self._commits)
        name = hashlib.sha1(f"{count}{sorted(files.items())}".encode(), usedforsecurity=False).hexdigest()
        self._commits.append(Snapshot(name, dict(files), rewritten=False))
        return name

    def rewrite(self, commit: str) -> None:
        """Force the branch back to a commit."""
        names = [snapshot.commit for snapshot in self._commits]
        del self._commits[names.index(commit) + 1 :]

    def snapshot(self) -> Snapshot:
        if self.reachable and not (self.branch_exists and self._commits):
            raise Rejected("the remote has no such branch")
        if not self.reachable and not self._last:
            raise Retryable("the remote cannot be reached")
        if not self.reachable:
            head = self._last[-1]
            return Snapshot(head.commit, head.files, rewritten=False, stale="the remote cannot be reached")
        rewritten = bool(self._last) and self._last[-1] not in self._commits
        self._last = list(self._commits)
        head = self._last[-1]
        return Snapshot(head.commit, head.files, rewritten)
