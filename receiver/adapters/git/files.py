"""Reading a bare repository with as few processes as there are questions, and believing nothing that it holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from ml.environment.strict_yaml import MAX_BYTES
from receiver.adapters.git.advice import SHALLOW, shallow
from receiver.adapters.git.command import NETWORK_SECONDS, Git, GitFailed
from receiver.core.errors import Rejected
from receiver.core.pins import FOLDER, is_environment_file
from receiver.core.redact import plain

REGULAR = frozenset({"100644", "100755"})
# A pull request may be anybody's: reading it is to cost no more than a moment and some memory.
MAX_FILES = 64
MAX_TOTAL = 1024 * 1024  # bytes
LARGEST_FETCHED = 2 * MAX_BYTES  # of a pull request's files: no larger one is read anyway


@dataclass(frozen=True, slots=True)
class _Entry:
    mode: str
    name: str  # object name
    size: int | None  # bytes; None for what is no blob
    path: str


def fetch(git: Git, *refspecs: str, seconds: float = NETWORK_SECONDS, largest: int | None = None) -> None:
    """Fetch exactly these refs; without files of more than ``largest`` bytes, where the remote can leave them out.

    GitFailed: the remote or the repository here is at fault. Rejected: the remote is a shallow clone.
    """
    only: tuple[str, ...] = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-gc")
    only += () if largest is None else (f"--filter=blob:limit={largest}",)
    output = git.run("fetch", *only, "--", git.remote.url, *refspecs, seconds=seconds)
    if SHALLOW.search(output.stderr):  # git leaves those refs out, and its status says that all went well
        raise Rejected(shallow(git.remote.url))


def read_files(git: Git, commit: str, *, partial: bool = False) -> dict[str, bytes]:
    """The environment files at a commit. Rejected: one is no regular file, or it is too much. GitFailed: damage.

    ``partial``: large files were not fetched.
    """
    entries = [e for e in _list(git, commit, f"{FOLDER}/", partial=partial) if is_environment_file(e.path)]
    if not entries:
        entries = [entry for entry in _list(git, commit, str(FOLDER), partial=partial) if entry.mode != "040000"]
    if len(entries) > MAX_FILES:
        raise Rejected(f"{FOLDER}: found {len(entries)} files, allowed at most {MAX_FILES}: remove some")
    wrong = [reason for entry in entries if (reason := _wrong(entry))]
    if wrong:
        raise Rejected("\n".join(wrong))
    total = sum(entry.size or 0 for entry in entries)
    if total > MAX_TOTAL:
        raise Rejected(f"{FOLDER}: found {total} bytes in all, allowed at most {MAX_TOTAL}: make them smaller")
    return _contents(git, entries)


def _list(git: Git, commit: str, path: str, *, partial: bool) -> list[_Entry]:
    entries = []
    for record in git("ls-tree", "-z", "-l", "--full-tree", commit, "--", path).decode(errors="replace").split("\0"):
        if record:
            facts, _, name = record.partition("\t")
            mode, _, sha, size = facts.split()
            if size == "BAD" and not partial:  # how git says that it cannot read the blob
                raise GitFailed(f"the mirror lacks {plain(name)} ({sha})")
            entries.append(_Entry(mode, sha, int(size) if size.isdigit() else None, name))
    return entries


def _wrong(entry: _Entry) -> str | None:
    kinds = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a folder"}
    shown = plain(entry.path)
    if entry.mode not in REGULAR:
        kind = kinds.get(entry.mode, f"mode {entry.mode}")
        return f"{shown}: found {kind}, allowed a regular file: commit the file itself"
    if entry.size is None or entry.size > MAX_BYTES:
        found = f"more than {LARGEST_FETCHED}" if entry.size is None else entry.size
        return f"{shown}: found {found} bytes, allowed at most {MAX_BYTES}: split it up"
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
