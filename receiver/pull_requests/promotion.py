"""The branch of a promotion: one commit that changes one line. Merging it is the promotion.

Works in a temporary bare repository, so no work tree, index or local branch is touched.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from ml.environment.file import EnvironmentInvalid, parse_environment
from receiver.adapters import shell
from receiver.adapters.git.command import Git, GitFailed, Remote
from receiver.adapters.git.commits import (
    Author,
    FileChange,
    changed_paths,
    commit_file,
    fetch_branches,
    is_unchanged,
    push_branch,
)
from receiver.adapters.git.files import contains, read_files
from receiver.core.edit import edit_pin
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.pins import path_of, read_pins


class Outdated(Rejected):
    """The pin has changed since the change was requested."""


@dataclass(frozen=True, slots=True)
class PinChange:
    """The requested change: this version of this model in this environment."""

    model: str
    version: int
    environment: str
    back: bool = False  # it undoes a promotion
    instead_of: int | None = None  # valid only while this version is pinned
    rolling: bool = False  # its branch always proposes the best version, whichever that is

    @property
    def branch(self) -> str:
        """The branch that proposes it; the same change always has the same one."""
        return self._branch("candidate" if self.rolling else f"v{self.version}")

    def title(self, was: int) -> str:
        """The subject of the commit and of the pull request."""
        if self.back:
            return f"Roll {self.model} back to v{self.version} in {self.environment} (was v{was})"
        return f"Promote {self.model} v{self.version} to {self.environment} (was v{was})"

    def replaces(self, branch: str) -> bool:
        """Whether ``branch`` proposes another version for the same pin, in the same direction."""
        which = r"(v[1-9]\d*|candidate)"
        pattern = which.join(map(re.escape, self._branch("\0").split("\0")))
        return branch != self.branch and re.fullmatch(pattern, branch) is not None

    def _branch(self, which: str) -> str:
        # A model name may contain what a git ref may not: two dots in a row, a dot or ".lock" at the end.
        kind, word = ("rollback", "in") if self.back else ("promote", "to")
        name = f"{self.model}-{which}-{word}-{self.environment}"
        return f"{kind}/" + re.sub(r"(\.lock|\.)$", "", re.sub(r"\.{2,}", ".", name))


@dataclass(frozen=True, slots=True)
class Promotion:
    """A change that is ready to be merged."""

    change: PinChange
    was: int  # the version pinned now
    title: str
    branch: str
    commit: str
    existing: bool  # the remote had it already; nothing was pushed
    compare: str | None  # where to open the pull request, for a repository on GitHub


def push_promotion_branch(
    remote: Remote,
    base: str,
    change: PinChange,
    author: Author | None = None,
    is_open: Callable[[], bool] | None = None,
) -> Promotion:
    """Push a branch that pins the version, from the head of the branch ``base``. Doing it again changes nothing.

    ``is_open``: whether the branch has an open pull request; None: that is not known.

    Rejected: not a known environment or pinned model, pinned already, the files at ``base`` are not valid, the
    branch holds somebody's own commits, or the remote refuses the push. Retryable: the remote cannot be reached.
    """
    try:
        with _repository(remote) as git:
            return _push(git, base, change, author, is_open)
    except GitFailed as error:
        if remote.mirror is None:
            raise Retryable(f"cannot fetch {base} from {remote.url}: {error}") from error
    # The mirror may be damaged, or be replaced by a new one at this moment.
    return push_promotion_branch(replace(remote, mirror=None), base, change, author, is_open)


@contextmanager
def _repository(remote: Remote) -> Iterator[Git]:
    with tempfile.TemporaryDirectory(prefix="pinrail-promote-") as directory:
        yield Git(Path(directory) / "repository.git", remote)


def _push(
    git: Git, base: str, change: PinChange, author: Author | None, is_open: Callable[[], bool] | None
) -> Promotion:
    head, proposed = fetch_branches(git, base, change.branch)
    files = read_files(git, head)
    was = read_pins(files).pin(change.environment, change.model).version
    if change.instead_of not in (None, was):
        raise Outdated(f"{change.environment} pins {change.model} v{was} now, not v{change.instead_of}")
    if was == change.version:
        raise Rejected(f"{change.environment} pins {change.model} v{was} already: there is nothing to promote")
    path = path_of(change.environment)
    edit = FileChange(path, files[path], edit_pin(files[path], change.model, change.version, path))
    title, link = change.title(was), compare_link(git.remote.url, base, change.branch)
    if proposed is not None:
        if _is_up_to_date(git, proposed, head, edit) and _is_waiting(git, proposed, head, path, is_open):
            return Promotion(change, was, title, change.branch, proposed, existing=True, compare=link)
        _require_replaceable(git, proposed, head, change)
    commit = commit_file(git, head, edit, title, author or local_author())
    push_branch(git, commit, change.branch, proposed)
    return Promotion(change, was, title, change.branch, commit, existing=False, compare=link)


def compare_link(url: str, base: str, branch: str) -> str | None:
    """The page on GitHub that opens a pull request, or None where the remote is elsewhere."""
    found = re.fullmatch(
        r"(?:https://|ssh://git@|git@)github\.com(?::443|:22)?[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?", url
    )
    return found and f"https://github.com/{found[1]}/compare/{quote(base)}...{quote(branch)}?expand=1"


def local_author() -> Author:
    """The author that git has configured on this machine; Pinrail if there is none."""
    environment = shell.scrubbed(os.environ, "GIT_AUTHOR_", "GIT_CONFIG_", "XDG_CONFIG_HOME", "EMAIL")
    try:
        output = shell.run(["git", "var", "GIT_AUTHOR_IDENT"], environment=environment, timeout=10)
    except PinrailError:
        output = None
    found = re.match(r"(.+) <([^<>\n]+)> ", output.stdout) if output and output.status == 0 else None
    return Author(found[1], found[2]) if found else Author("Pinrail", "pinrail@localhost")


def _is_up_to_date(git: Git, proposed: str, head: str, edit: FileChange) -> bool:
    """The branch proposes exactly this change already, and can still be merged."""
    return (
        not contains(git, head, proposed)
        and changed_paths(git, proposed) == [edit.path]
        and read_files(git, proposed).get(edit.path) == edit.after
        and read_files(git, f"{proposed}^").get(edit.path) == edit.before
    )


def _is_waiting(git: Git, proposed: str, head: str, path: str, is_open: Callable[[], bool] | None) -> bool:
    """The branch waits to be merged, and is not left from a pull request that was merged or closed."""
    if git("rev-parse", f"{proposed}^").decode().strip() == head:
        return True
    return is_unchanged(git, path, f"{proposed}^", head) if is_open is None else is_open()


def _require_replaceable(git: Git, proposed: str, head: str, change: PinChange) -> None:
    """Only our own proposal, from an older base or merged before, may be replaced."""
    path = path_of(change.environment)
    if contains(git, head, proposed):
        return
    try:
        before = read_files(git, f"{proposed}^")[path]
        after = read_files(git, proposed)[path]
        version = parse_environment(after, path).models[change.model].version if change.rolling else change.version
        ours = edit_pin(before, change.model, version) == after
    except (PinrailError, EnvironmentInvalid, KeyError):
        ours = False
    if not ours or changed_paths(git, proposed) != [path]:
        raise Rejected(
            f"the branch {change.branch} at {git.remote.url} holds other changes ({proposed[:12]}): "
            "merge it, or delete it and try again"
        )
