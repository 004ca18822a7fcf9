"""What every source of pins does, fake or real. A test class that inherits these gives a ``rig``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from receiver.core.errors import Rejected, Retryable
from receiver.ports import Source

ONE = {"environments/a.yaml": b"one\n"}
TWO = {"environments/a.yaml": b"two\n", "environments/b.yaml": b"\xff\r\n\0"}


@dataclass(frozen=True)
class Rig:
    """A source whose branch does not exist yet, and the far side of it."""

    source: Source
    commit: Callable[[Mapping[str, bytes]], str]  # replaces all environment files
    rewrite: Callable[[str], None]  # forces the branch back to a commit
    delete_branch: Callable[[], None]
    set_reachable: Callable[[bool], None]


class SourceContract:
    """See :class:`receiver.ports.Source`."""

    def test_the_head_is_read_as_bytes(self, rig: Rig) -> None:
        commit = rig.commit(TWO)
        snapshot = rig.source.snapshot()
        assert (snapshot.commit, dict(snapshot.files)) == (commit, TWO)
        assert not snapshot.rewritten
        assert snapshot.stale is None

    def test_a_new_head_is_seen_and_an_old_one_can_be_repeated(self, rig: Rig) -> None:
        rig.commit(ONE)
        assert dict(rig.source.snapshot().files) == ONE
        newer = rig.commit(TWO)
        assert rig.source.snapshot() == rig.source.snapshot()
        assert rig.source.snapshot().commit == newer

    def test_a_file_that_is_gone_is_not_in_the_snapshot(self, rig: Rig) -> None:
        rig.commit(TWO)
        rig.source.snapshot()
        rig.commit(ONE)
        assert dict(rig.source.snapshot().files) == ONE

    def test_rewritten_history_is_followed_and_said_once(self, rig: Rig) -> None:
        first = rig.commit(ONE)
        rig.commit(TWO)
        rig.source.snapshot()
        rig.rewrite(first)
        snapshot = rig.source.snapshot()
        assert (snapshot.commit, snapshot.rewritten) == (first, True)
        assert not rig.source.snapshot().rewritten

    def test_without_the_remote_the_last_fetched_head_is_given_as_stale(self, rig: Rig) -> None:
        commit = rig.commit(ONE)
        rig.source.snapshot()
        rig.set_reachable(False)
        snapshot = rig.source.snapshot()
        assert (snapshot.commit, dict(snapshot.files)) == (commit, ONE)
        assert snapshot.stale
        rig.set_reachable(True)
        assert rig.source.snapshot().stale is None

    def test_without_the_remote_and_anything_fetched_it_is_tried_again_later(self, rig: Rig) -> None:
        rig.commit(ONE)
        rig.set_reachable(False)
        with pytest.raises(Retryable):
            rig.source.snapshot()
        rig.set_reachable(True)
        assert dict(rig.source.snapshot().files) == ONE

    def test_a_branch_that_never_was_is_an_error(self, rig: Rig) -> None:
        with pytest.raises(Rejected):
            rig.source.snapshot()

    def test_a_deleted_branch_is_an_error_and_not_an_empty_snapshot(self, rig: Rig) -> None:
        rig.commit(ONE)
        rig.source.snapshot()
        rig.delete_branch()
        with pytest.raises(Rejected):
            rig.source.snapshot()
