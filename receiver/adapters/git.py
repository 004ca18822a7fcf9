"""The watched branch, through a bare mirror: fetched, read at one commit, never checked out.

Whatever state a crash, a full disk or a person left the mirror in, the answer is either the branch as the remote has
it, the last one fetched (marked stale), or an error; never "the environment files are gone".
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml.strict_yaml import MAX_BYTES
from receiver.adapters.git_command import NETWORK_SECONDS, Git, GitFailed, parse_remote
from receiver.core.errors import Rejected, Retryable
from receiver.core.pins import FOLDER, is_environment_file
from receiver.core.redact import plain
from receiver.ports import Snapshot

CLONE_SECONDS = 600.0
LOCK_SECONDS = 120.0  # longer than a fetch: whoever holds the mirror is done by then
# Where git makes lock files; the folders of loose objects, which may be thousands, have none.
LOCKS = ((".", "*.lock"), ("refs", "**/*.lock"), ("objects/info", "**/*.lock"), ("objects/pack", "*.lock"))
REGULAR = frozenset({"100644", "100755"})


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: str
    name: str  # object name
    size: int | None  # bytes; None for what is no blob
    path: str


class GitSource:
    """:class:`receiver.ports.Source` over git. Several processes may share the mirror; they take turns.

    ``url`` and ``branch`` come from the settings, never from a payload; ``token`` is for an https remote.
    """

    def __init__(self, url: str, branch: str, mirror_path: Path, *, token: str | None = None) -> None:
        self._remote = parse_remote(url, token)
        self._branch = branch
        self._ref = f"refs/heads/{branch}"
        self._refspec = f"+{self._ref}:{self._ref}"
        self._mirror = mirror_path
        self._check_branch()

    def snapshot(self) -> Snapshot:
        """Fetch the branch head and read the environment files there.

        Rejected: the branch is gone, or a file is no regular file of at most 64 KiB.
        Retryable: the remote cannot be reached and nothing was ever fetched.
        """
        self._mirror.parent.mkdir(parents=True, exist_ok=True)
        with _turn(self._mirror.with_name(self._mirror.name + ".turn")) as descriptor:
            git = Git(self._mirror, self._remote, (descriptor,))
            before = self._head(git)
            stale = self._bring_up_to_date(git, before)
            try:
                return self._read(git, before, stale)
            except GitFailed:  # damaged: what is missing here says nothing about the branch
                self._rebuild(git)
            try:
                return self._read(git, before, None)
            except GitFailed as error:
                raise Retryable(f"the mirror of {self._remote.url} cannot be read: {error}") from error

    def pull_request(self, number: int) -> Snapshot:
        """Read a pull request's head, also a fork's, as data.

        Rejected: GitHub has no such pull request (other hosts have no such refs), or a file is no regular one.
        Retryable: the remote cannot be reached.
        """
        self._mirror.parent.mkdir(parents=True, exist_ok=True)
        ref = f"refs/pinrail/pull/{number:d}"
        with _turn(self._mirror.with_name(self._mirror.name + ".turn")) as descriptor:
            git = Git(self._mirror, self._remote, (descriptor,))
            self._bring_up_to_date(git, self._head(git))
            try:
                fetch(git, f"+refs/pull/{number:d}/head:{ref}")
                commit = git("rev-parse", "--verify", f"{ref}^{{commit}}").decode().strip()
                files = read_files(git, commit)
                git("update-ref", "-d", ref)  # what strangers propose is read and let go
            except GitFailed as error:
                raise self._no_pull_request(git, number, error) from error
        return Snapshot(commit, files, rewritten=False)

    def _no_pull_request(self, git: Git, number: int, error: GitFailed) -> Rejected | Retryable:
        unreachable = self._why_unreachable(git)
        if unreachable is not None:
            return Retryable(unreachable)
        return Rejected(f"{self._remote.url} has no pull request {number} that can be read: {error}")

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
        _remove_locks(self._mirror)
        if before is None:
            self._rebuild(git)
            return None
        try:
            fetch(git, self._refspec)
        except Retryable as error:
            return str(error)
        except GitFailed:
            unreachable = self._why_unreachable(git)
            if unreachable is not None:
                return unreachable
            self._rebuild(git)  # the remote answers, so it is the mirror that is broken
        return None

    def _why_unreachable(self, git: Git) -> str | None:
        """Ask the remote for the branch. Rejected: it has none of that name."""
        try:
            answer = git("ls-remote", "--", self._remote.url, self._ref, seconds=NETWORK_SECONDS)
        except (GitFailed, Retryable) as error:
            return str(error)
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
        commit = git("rev-parse", "--verify", f"{self._ref}^{{commit}}").decode().strip()
        rewritten = before is not None and before != commit and not contains(git, commit, before)
        return Snapshot(commit, read_files(git, commit), rewritten, stale)


def fetch(git: Git, *refspecs: str, seconds: float = NETWORK_SECONDS) -> None:
    """Fetch exactly these refs. GitFailed: the remote or the repository here is at fault."""
    quiet = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    git("fetch", *quiet, "--", git.remote.url, *refspecs, seconds=seconds)


def read_files(git: Git, commit: str) -> dict[str, bytes]:
    """The environment files at a commit. Rejected: one is no regular file, or too large. GitFailed: damage."""
    entries = [entry for entry in _list(git, commit, f"{FOLDER}/") if is_environment_file(entry.path)]
    if not entries:
        entries = [entry for entry in _list(git, commit, str(FOLDER)) if entry.mode != "040000"]
    wrong = [reason for entry in entries if (reason := _wrong(entry))]
    if wrong:
        raise Rejected("\n".join(wrong))
    return _contents(git, entries)


def _list(git: Git, commit: str, path: str) -> list[_Entry]:
    entries = []
    for record in git("ls-tree", "-z", "-l", "--full-tree", commit, "--", path).decode(errors="replace").split("\0"):
        if record:
            facts, _, name = record.partition("\t")
            mode, _, sha, size = facts.split()
            entries.append(_Entry(mode, sha, int(size) if size.isdigit() else None, name))
    return entries


def _wrong(entry: _Entry) -> str | None:
    kinds = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a folder"}
    shown = plain(entry.path)
    if entry.mode not in REGULAR:
        kind = kinds.get(entry.mode, f"mode {entry.mode}")
        return f"{shown}: found {kind}, allowed a regular file: commit the file itself"
    if entry.size is None or entry.size > MAX_BYTES:
        return f"{shown}: found {entry.size} bytes, allowed at most {MAX_BYTES}: split it up"
    return None


def _contents(git: Git, entries: Sequence[_Entry]) -> dict[str, bytes]:
    """Read all blobs with one git. GitFailed: the mirror does not have one of them."""
    wanted = "".join(f"{entry.name}\n" for entry in entries)
    output = git("cat-file", "--batch", stdin=wanted.encode())
    files, position = {}, 0
    for entry in entries:
        line_end = output.find(b"\n", position)
        header = output[position:line_end].split()
        if line_end < 0 or header != [entry.name.encode(), b"blob", str(entry.size).encode()]:
            raise GitFailed(f"the mirror lacks {plain(entry.path)} ({entry.name})")
        start = line_end + 1
        position = start + int(header[2]) + 1  # a newline follows
        files[entry.path] = output[start : position - 1]
    return files


def contains(git: Git, commit: str, ancestor: str) -> bool:
    """The commit has the other one in its history; an unknown one it has not."""
    try:
        git("merge-base", "--is-ancestor", ancestor, commit)
    except GitFailed:
        return False
    return True


@contextmanager
def _turn(path: Path) -> Iterator[int]:
    """Hold the mirror. Git inherits the descriptor: an orphan of a killed receiver holds it until it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Retryable(f"another process has held {path} for {LOCK_SECONDS:g} s") from error
            time.sleep(0.02)


def _remove_locks(mirror: Path) -> None:
    """Whoever made them is gone: we have the turn, and every git holds it while it lives."""
    for where, pattern in LOCKS:
        for lock in (mirror / where).glob(pattern):
            lock.unlink(missing_ok=True)
