"""What a branch would hold with another commit merged: of the environment files alone, and without a work tree."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from receiver.adapters.git.command import Git, GitFailed
from receiver.adapters.git.files import read_files
from receiver.core.errors import Rejected

Files = Mapping[str, bytes]


def merged_files(git: Git, branch: str, proposed: str) -> dict[str, bytes]:
    """Merge the environment files of two commits as GitHub would.

    Rejected: they conflict, share no history, or a proposed file is no regular one. GitFailed: damage.
    """
    theirs = read_files(git, proposed, partial=True)
    try:
        ancestor = git("merge-base", branch, proposed).decode().split()[0]
    except GitFailed as error:
        raise Rejected("it shares no history with the branch that it is to be merged into") from error
    try:
        before, ours = read_files(git, ancestor), read_files(git, branch)
    except Rejected:  # what is there now can't be read, so only what replaces it counts
        return theirs
    merged = {}
    for path in sorted({*before, *ours, *theirs}):
        content = _merge(git, path, (ours.get(path), before.get(path), theirs.get(path)))
        if content is not None:
            merged[path] = content
    return merged


def _merge(git: Git, path: str, sides: tuple[bytes | None, bytes | None, bytes | None]) -> bytes | None:
    """One file: ours, their common ancestor, theirs; None where it is not there."""
    ours, before, theirs = sides
    if theirs in (before, ours):
        return ours
    if ours == before:
        return theirs
    if ours is None or theirs is None or before is None:
        raise Rejected(_conflict(path))
    with tempfile.TemporaryDirectory(prefix="pinrail-merge-") as directory:
        names = []
        for name, content in (("ours", ours), ("before", before), ("theirs", theirs)):
            file = Path(directory) / name
            file.write_bytes(content)
            names.append(str(file))
        try:
            return git("merge-file", "-p", "--quiet", *names)
        except GitFailed as error:
            raise Rejected(_conflict(path)) from error


def _conflict(path: str) -> str:
    return f"{path}: found changes on both sides, allowed ones that git can merge: merge the branch into yours"
