"""Mirrors stay small, whatever is pushed by force or proposed by strangers, and are read meanwhile."""

import os
import threading
import time
from pathlib import Path

import pytest

from receiver.adapters.git import compaction
from receiver.adapters.git.compaction import MirrorCompaction
from receiver.adapters.git.mirror import GitSource
from receiver.cli.doctor import machine
from receiver.settings import Settings
from serving.model.digest import bytes_below
from tests.support.git_repos import FILES, Origin, git

MB = 1 << 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "GARBAGE_BYTES", 2 * MB)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "state" / "mirror.git"


@pytest.fixture
def source(origin: Origin, mirror: Path) -> GitSource:
    return GitSource(origin.url, "main", mirror)


def push_by_force(origin: Origin, first: str, size: int = MB) -> str:
    """Replace the branch by its first commit and another large one."""
    origin.reset(first)
    return origin.commit({"large": os.urandom(size)})


def test_heads_from_before_force_pushes_do_not_gather(origin: Origin, source: GitSource, mirror: Path) -> None:
    first, compact = origin.head(), MirrorCompaction([mirror, mirror.with_name("proposals.git")])
    for _ in range(6):
        head = push_by_force(origin, first)
        assert source.snapshot().commit == head
        again = compact.run(threading.Event())
    assert bytes_below(mirror) < 4 * MB
    assert again > time.time() + 60
    assert git(mirror, "fsck", "--full", "--strict", "--no-dangling") == ""
    snapshot = source.snapshot()
    assert (snapshot.commit, snapshot.rewritten, snapshot.stale) == (head, False, None)
    assert not list(mirror.parent.glob("*.compact"))


def test_what_strangers_propose_does_not_gather(origin: Origin, source: GitSource, mirror: Path) -> None:
    compact, base = MirrorCompaction([mirror]), origin.head()
    source.snapshot()
    for number in range(1, 6):
        origin.commit({"theirs": os.urandom(MB), **FILES})
        git(origin.path, "update-ref", f"refs/pull/{number}/head", origin.head())
        origin.reset(base)
        source.pull_request(number)
        compact.run(threading.Event())
    assert bytes_below(mirror) < 3 * MB
    assert source.snapshot().commit == base


def test_what_the_branch_needs_is_kept_however_large(
    origin: Origin, source: GitSource, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        origin.commit({f"large-{number}": os.urandom(MB)})
    head = source.snapshot().commit
    monkeypatch.setattr(compaction, "_copy_and_replace", lambda _: pytest.fail("there is nothing to remove"))
    MirrorCompaction([mirror]).run(threading.Event())
    assert source.snapshot().commit == head
    assert bytes_below(mirror) > 4 * MB


def test_a_mirror_is_read_while_it_is_made_smaller(origin: Origin, source: GitSource, mirror: Path) -> None:
    first, compact, errors = origin.head(), MirrorCompaction([mirror]), []
    for _ in range(3):
        push_by_force(origin, first)
        source.snapshot()
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                snapshot = GitSource(origin.url, "main", mirror).snapshot()
                assert snapshot.stale is None
                assert set(snapshot.files) == set(FILES)
        except BaseException as error:  # noqa: BLE001 - raised below, in the test's thread
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    compact.run(threading.Event())
    done.set()
    reader.join()
    assert errors == []
    assert bytes_below(mirror) < 2 * MB


@pytest.mark.parametrize("there", [False, True])
def test_a_mirror_that_is_missing_or_damaged_is_left_to_who_reads_it(
    origin: Origin, source: GitSource, mirror: Path, *, there: bool
) -> None:
    if there:
        first = origin.head()
        for _ in range(3):
            push_by_force(origin, first)
            source.snapshot()
        (mirror / "HEAD").write_text("rubbish")
    MirrorCompaction([mirror]).run(threading.Event())
    assert set(source.snapshot().files) == set(FILES)


def test_doctor_shows_what_grows(source: GitSource, mirror: Path, origin: Origin) -> None:
    origin.commit({"large": os.urandom(3 * MB)})
    source.snapshot()
    check = machine.state_directory(Settings(pinrail_state_dir=mirror.parent))
    assert check.ok
    assert "cache 0 MB, git mirrors 3 MB, logs 0 MB, packages of models 0 MB, state file 0 MB" in check.found
