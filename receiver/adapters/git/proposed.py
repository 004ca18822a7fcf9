"""What strangers propose: fetched without large files into a repository of its own, read, and removed.

The repository borrows the mirror's objects, so what the branch has is not sent again. A remote that does not filter
sends everything, which is removed all the same.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from receiver.adapters.git.command import Git
from receiver.adapters.git.files import LARGEST_FETCHED, fetch

REF = "refs/pinrail/proposed"
# Git would fetch what was left out as soon as somebody asks for it, so it must not know from where.
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"


@contextmanager
def fetched_beside(mirror: Git, ref: str) -> Iterator[tuple[Git, str]]:
    """A repository with the commit at a ref of the remote, and that commit. The caller has the mirror's turn.

    Raises as :func:`receiver.adapters.git.files.fetch` does.
    """
    aside = Git(mirror.directory.with_name(mirror.directory.name + ".proposed"), mirror.remote, mirror.keep)
    shutil.rmtree(aside.directory, ignore_errors=True)  # what a crash has left
    try:
        aside("init", "--quiet", "--bare", "--template=", "--", str(aside.directory))
        borrowed = aside.directory / "objects" / "info"
        borrowed.mkdir(parents=True, exist_ok=True)
        (borrowed / "alternates").write_text(f"{(mirror.directory / 'objects').absolute()}\n")
        fetch(aside, f"+{ref}:{REF}", largest=LARGEST_FETCHED)
        (aside.directory / "config").write_text(CONFIG)
        yield aside, aside("rev-parse", "--verify", f"{REF}^{{commit}}").decode().strip()
    finally:
        shutil.rmtree(aside.directory, ignore_errors=True)
