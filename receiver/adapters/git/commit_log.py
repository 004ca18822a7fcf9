"""Who made a commit, and in which pull request: read from the mirror on this machine, without the network."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from receiver.adapters.git.command import Git, GitFailed, Remote
from receiver.core.errors import Retryable

SECONDS = 2.0  # a page waits for it
KEPT = 20_000  # commits do not change, so they are kept; beyond so many it begins anew
FIELD, RECORD = "\x1f", "\x1e"

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
# How GitHub names a pull request in the subject of a merge commit and of a squashed one.
_PULL = re.compile(r"Merge pull request #([0-9]{1,9}) |.*\(#([0-9]{1,9})\)$")


@dataclass(frozen=True, slots=True)
class CommitNote:
    """What a commit says about itself. Its author may have written anything."""

    author: str
    subject: str
    pull_request: int | None


class CommitLog:
    """Looks commits up. Thread-safe."""

    def __init__(self, mirror: Path, remote: Remote) -> None:
        self._git = Git(mirror, remote)
        self._known: dict[str, CommitNote] = {}

    def __call__(self, commits: Collection[str]) -> Mapping[str, CommitNote]:
        """Those of the commits that the mirror has; none where it cannot be read at once."""
        missing = [commit for commit in commits if commit not in self._known and _COMMIT.fullmatch(commit)]
        if missing and self._git.directory.is_dir():
            if len(self._known) > KEPT:
                self._known = {}
            self._known.update(self._read(missing))
        return {commit: self._known[commit] for commit in commits if commit in self._known}

    def _read(self, commits: Collection[str]) -> Mapping[str, CommitNote]:
        format_ = FIELD.join(("--format=%H", "%an", "%s")) + RECORD
        try:
            output = self._git(
                "log", "--no-walk=unsorted", "--ignore-missing", format_, "--stdin",
                seconds=SECONDS, stdin="".join(f"{commit}\n" for commit in commits).encode(),
            )  # fmt: skip
        except (GitFailed, Retryable):
            return {}
        found = {}
        for record in output.decode(errors="replace").split(RECORD)[:-1]:
            commit, author, subject = record.strip("\n").split(FIELD, 2)
            found[commit] = CommitNote(author, subject, pull_request_of(subject))
        return found


def pull_request_of(subject: str) -> int | None:
    """The number of the pull request that a merge's subject names."""
    found = _PULL.match(subject)
    return int(found[1] or found[2]) if found else None
