"""Proposing a promotion: a branch at the remote whose one commit changes one line. Merging it is the promotion.

Works on a bare repository of its own that is thrown away, so nobody's work tree, index or branches are touched.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ml.environment.file import EnvironmentInvalid, parse_environment
from receiver.adapters import shell
from receiver.adapters.git.command import NETWORK_SECONDS, Git, GitFailed, Remote
from receiver.adapters.git.files import contains, fetch, read_files
from receiver.core.edit import edit_pin
from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.pins import path_of, read_pins

BASE = "refs/pinrail/base"
PROPOSED = "refs/pinrail/proposed"


class Outdated(Rejected):
    """What is pinned has changed since the change was asked for."""


@dataclass(frozen=True, slots=True)
class PinChange:
    """What is asked for: this version of this model in this environment."""

    model: str
    version: int
    environment: str
    back: bool = False  # it undoes a promotion
    instead_of: int | None = None  # asked for only while this version is pinned
    rolling: bool = False  # its branch proposes the best version of the day, whichever that is

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
        # Model names may hold what a ref may not: two dots in a row, a dot or ".lock" at the end.
        kind, word = ("rollback", "in") if self.back else ("promote", "to")
        name = f"{self.model}-{which}-{word}-{self.environment}"
        return f"{kind}/" + re.sub(r"(\.lock|\.)$", "", re.sub(r"\.{2,}", ".", name))


@dataclass(frozen=True, slots=True)
class Author:
    """Whose commit it is."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Edit:
    """One file of the repository, as it is at the base branch and as the change wants it."""

    path: str
    before: bytes
    after: bytes


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


def promote(remote: Remote, base: str, change: PinChange, author: Author | None = None) -> Promotion:
    """Push a branch that pins the version, from the head of the branch ``base``. Doing it again changes nothing.

    Rejected: not a known environment or pinned model, pinned already, the files at ``base`` are not valid, the
    branch holds somebody's own commits, or the remote refuses the push. Retryable: the remote cannot be reached.
    """
    with tempfile.TemporaryDirectory(prefix="pinrail-promote-") as directory:
        git = Git(Path(directory) / "repository.git", remote)
        head, proposed = _fetch(git, base, change.branch)
        files = read_files(git, head)
        was = read_pins(files).pin(change.environment, change.model).version
        if change.instead_of not in (None, was):
            raise Outdated(f"{change.environment} pins {change.model} v{was} by now, not v{change.instead_of}")
        if was == change.version:
            raise Rejected(f"{change.environment} pins {change.model} v{was} already: there is nothing to promote")
        path = path_of(change.environment)
        edit = Edit(path, files[path], edit_pin(files[path], change.model, change.version, path))
        title = change.title(was)
        commit = proposed if proposed and _stands(git, proposed, head, edit) else None
        if commit is None:
            if proposed is not None:
                _require_replaceable(git, proposed, head, change)
            commit = _commit(git, head, edit, (title, author or local_author()))
            _push(git, commit, change.branch, proposed)
        link = compare_link(remote.url, base, change.branch)
        return Promotion(change, was, title, change.branch, commit, commit == proposed, link)


def compare_link(url: str, base: str, branch: str) -> str | None:
    """The page on GitHub that opens a pull request, or None where the remote is elsewhere."""
    found = re.fullmatch(
        r"(?:https://|ssh://git@|git@)github\.com(?::443|:22)?[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?", url
    )
    return found and f"https://github.com/{found[1]}/compare/{quote(base)}...{quote(branch)}?expand=1"


def local_author() -> Author:
    """Who git says that the user of this machine is; Pinrail where it knows nobody."""
    environment = shell.scrubbed(os.environ, "GIT_AUTHOR_", "GIT_CONFIG_", "XDG_CONFIG_HOME", "EMAIL")
    try:
        output = shell.run(["git", "var", "GIT_AUTHOR_IDENT"], environment=environment, timeout=10)
    except PinrailError:
        output = None
    found = re.match(r"(.+) <([^<>\n]+)> ", output.stdout) if output and output.status == 0 else None
    return Author(found[1], found[2]) if found else Author("Pinrail", "pinrail@localhost")


def _fetch(git: Git, base: str, branch: str) -> tuple[str, str | None]:
    """Bring the base branch, and the proposing one where there is one. Returns both heads."""
    try:
        git("init", "--quiet", "--bare", "--template=", "--", str(git.directory))
        # A pattern, unlike a name, may match nothing.
        fetch(git, f"+refs/heads/{base}:{BASE}", f"+refs/heads/{branch}*:{PROPOSED}/{branch}*")
    except GitFailed as error:
        raise Retryable(f"cannot fetch {base} from {git.remote.url}: {error}") from error
    head = git("rev-parse", "--verify", BASE).decode().strip()
    try:
        return head, git("rev-parse", "--verify", "--quiet", f"{PROPOSED}/{branch}").decode().strip()
    except GitFailed:
        return head, None


def _stands(git: Git, proposed: str, head: str, edit: Edit) -> bool:
    """The branch proposes exactly this change already, and can still be merged."""
    return (
        not contains(git, head, proposed)
        and _touched(git, proposed) == [edit.path]
        and read_files(git, proposed).get(edit.path) == edit.after
        and read_files(git, f"{proposed}^").get(edit.path) == edit.before
    )


def _require_replaceable(git: Git, proposed: str, head: str, change: PinChange) -> None:
    """Only a proposal of ours, from an older base or merged before, may be replaced."""
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
    if not ours or _touched(git, proposed) != [path]:
        raise Rejected(
            f"the branch {change.branch} at {git.remote.url} holds other changes ({proposed[:12]}): "
            "merge it, or delete it and try again"
        )


def _touched(git: Git, commit: str) -> Sequence[str]:
    """The paths that a commit changes; none for one without exactly one parent."""
    output = git("diff-tree", "--no-commit-id", "--name-only", "-r", "-z", "--no-renames", commit)
    return output.decode(errors="replace").split("\0")[:-1]


def _commit(git: Git, head: str, edit: Edit, signed: tuple[str, Author]) -> str:
    """Make the commit from plumbing alone, with an index of its own."""
    title, author = signed
    who = {
        "GIT_INDEX_FILE": str(git.directory / "pinrail-index"),
        **{f"GIT_{role}_NAME": author.name for role in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{role}_EMAIL": author.email for role in ("AUTHOR", "COMMITTER")},
    }
    mode = git("ls-tree", "--full-tree", head, "--", edit.path).split(maxsplit=1)[0].decode()
    blob = git("hash-object", "-w", "--stdin", stdin=edit.after).decode().strip()
    git("read-tree", head, extra=who)
    git("update-index", "--cacheinfo", f"{mode},{blob},{edit.path}", extra=who)
    tree = git("write-tree", extra=who).decode().strip()
    return git("commit-tree", tree, "-p", head, stdin=f"{title}\n".encode(), extra=who).decode().strip()


def _push(git: Git, commit: str, branch: str, expected: str | None) -> None:
    """Push, unless the branch has moved since we looked."""
    ref = f"refs/heads/{branch}"
    lease = f"--force-with-lease={ref}:{expected or ''}"
    try:
        git("push", "--quiet", lease, "--", git.remote.url, f"{commit}:{ref}", seconds=NETWORK_SECONDS)
    except GitFailed as error:
        raise Rejected(
            f"{git.remote.url} did not take the branch {branch}: {error}. Over https, GITHUB_TOKEN must be allowed "
            "to write contents; if somebody pushed the same branch meanwhile, try again"
        ) from error
