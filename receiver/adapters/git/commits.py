"""One commit that changes one file, and its branch at the remote.

It is built in a bare repository that is thrown away afterwards, so nobody's work tree, index or branches are touched.
What the mirror has already is read from there and not fetched again. The mirror is not locked meanwhile: who deploys
from it does not wait for this.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from receiver.adapters.git.command import NETWORK_SECONDS, Git, GitFailed
from receiver.adapters.git.files import fetch
from receiver.adapters.git.mirror import CLONE_SECONDS
from receiver.core.errors import Rejected, Retryable

BASE = "refs/pinrail/base"
PROPOSED = "refs/pinrail/proposed"


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a commit."""

    name: str
    email: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of the repository, as it is at the base branch and as the commit changes it."""

    path: str
    before: bytes
    after: bytes


def fetch_branches(git: Git, base: str, branch: str) -> tuple[str, str | None]:
    """Make the repository, and fetch the base branch and, where it exists, the proposed one. Returns both heads.

    GitFailed: the remote cannot be read, or the mirror is damaged. Retryable: it took too long.
    """
    git("init", "--quiet", "--bare", "--template=", "--", str(git.directory))
    seconds = NETWORK_SECONDS if _borrow(git, base) else CLONE_SECONDS
    # A pattern, unlike a name, may match nothing.
    fetch(git, f"+refs/heads/{base}:{BASE}", f"+refs/heads/{branch}*:{PROPOSED}/{branch}*", seconds=seconds)
    head = git("rev-parse", "--verify", BASE).decode().strip()
    try:
        return head, git("rev-parse", "--verify", "--quiet", f"{PROPOSED}/{branch}").decode().strip()
    except GitFailed:
        return head, None


def is_unchanged(git: Git, path: str, since: str, until: str) -> bool:
    """Whether no commit between the two has touched the path."""
    return not git("rev-list", "--max-count=1", f"{since}..{until}", "--", path)


def changed_paths(git: Git, commit: str) -> Sequence[str]:
    """The paths that a commit changes; none for one without exactly one parent."""
    output = git("diff-tree", "--no-commit-id", "--name-only", "-r", "-z", "--no-renames", commit)
    return output.decode(errors="replace").split("\0")[:-1]


def commit_file(git: Git, parent: str, change: FileChange, title: str, author: Author) -> str:
    """Commit one changed file on top of ``parent``; returns the commit's object name. The file keeps its mode.

    Plumbing alone, with an index of its own: there is no work tree. Rejected: there is a key, and it does not sign.
    """
    who = {
        "GIT_INDEX_FILE": str(git.directory / "pinrail-index"),
        **{f"GIT_{role}_NAME": author.name for role in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{role}_EMAIL": author.email for role in ("AUTHOR", "COMMITTER")},
    }
    mode = git("ls-tree", "--full-tree", parent, "--", change.path).split(maxsplit=1)[0].decode()
    blob = git("hash-object", "-w", "--stdin", stdin=change.after).decode().strip()
    git("read-tree", parent, extra=who)
    git("update-index", "--cacheinfo", f"{mode},{blob},{change.path}", extra=who)
    tree = git("write-tree", extra=who).decode().strip()
    return _commit_tree(git, [tree, "-p", parent], title, who)


def try_to_sign(git: Git) -> None:
    """Make a commit of nothing in a new repository. Rejected: its key does not sign."""
    git("init", "--quiet", "--bare", "--template=", "--", str(git.directory))
    who = {f"GIT_{role}_{what}": "pinrail" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    _commit_tree(git, [git("mktree").decode().strip()], "Try the signing key", who)


def _commit_tree(git: Git, of: Sequence[str], title: str, who: Mapping[str, str]) -> str:
    key = git.remote.signing_key
    if key is None:
        return git("commit-tree", *of, stdin=f"{title}\n".encode(), extra=who).decode().strip()
    key.require()
    try:
        signed = git("commit-tree", "-S", *of, stdin=f"{title}\n".encode(), extra={**who, **key.environment})
    except (GitFailed, Retryable) as error:
        raise key.refusal(str(error)) from error
    return signed.decode().strip()


def push_branch(git: Git, commit: str, branch: str, expected: str | None) -> None:
    """Push a commit to a branch whose head was ``expected`` (None: there was none). Rejected: the remote refuses."""
    ref = f"refs/heads/{branch}"
    lease = f"--force-with-lease={ref}:{expected or ''}"
    try:
        git("push", "--quiet", lease, "--", git.remote.url, f"{commit}:{ref}", seconds=NETWORK_SECONDS)
    except GitFailed as error:
        raise Rejected(
            f"{git.remote.url} did not take the branch {branch}: {error}. Over https, GITHUB_TOKEN must be allowed "
            "to write contents; if somebody pushed the same branch meanwhile, try again"
        ) from error


def _borrow(git: Git, base: str) -> bool:
    """Read from the mirror what it has, as git does with --reference. Returns whether it has the base branch."""
    mirror = git.remote.mirror
    if mirror is None:
        return False
    try:
        Git(mirror, git.remote)("rev-parse", "--verify", "--quiet", f"refs/heads/{base}^{{commit}}")
    except GitFailed:
        return False
    alternates = git.directory / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_text(f"{mirror.resolve() / 'objects'}\n")
    return True
